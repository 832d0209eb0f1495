#!/bin/sh
# layout.sh PROGRAM DIR: writes into DIR what packages bring beside the program and the files
# of deploy: the unit for /usr/bin, the changelog, and what makes shells complete commands.
set -eu
program=$(realpath "$1") dir=$(realpath "$2")
cd "$(dirname "$0")/../.."
# Without the words on how to install it by hand.
sed -e '1,/^$/d' -e 's|/usr/local/bin/parlor|/usr/bin/parlor|' deploy/parlor.service >"$dir/parlor.service"
gzip --no-name --best <CHANGELOG.md >"$dir/changelog.gz"
for shell in bash fish; do
	"$program" completion "$shell" >"$dir/completion.$shell"
done
