#!/bin/sh
# build.sh PROGRAM OUT: packs a program that make build made into a deb and an rpm in the
# directory OUT, where the SBOM and the licenses already are. The packages of a commit are the
# same bytes wherever they are built.
set -eu
program=$(realpath "$1") out=$(realpath "$2")
cd "$(dirname "$0")/../.."

# A tag v1.2.3 is version 1.2.3, and a v1.2.3-rc.1 is 1.2.3~rc.1, which comes before it; commits
# after a tag are 1.2.3+4.gSHA; without tags it is the day of the commit.
describe=${VERSION-$(git describe --tags --always --abbrev=12 --dirty)}
committed=${COMMITTED-$(TZ=UTC git log -1 --date=format-local:%Y-%m-%dT%H:%M:%SZ --format=%cd)}
PACKAGE_VERSION=$(printf '%s\n' "$describe" | sed -E -n \
	-e 's/-dirty$/+dirty/' \
	-e 's/^v?([0-9]+\.[0-9]+\.[0-9]+.*)-([0-9]+)-(g[0-9a-f]+)/\1+\2.\3/' \
	-e 's/^v?([0-9]+\.[0-9]+\.[0-9]+)-/\1~/' \
	-e 's/^v?([0-9]+\.[0-9]+\.[0-9]+)/\1/p')
[ -n "$PACKAGE_VERSION" ] || PACKAGE_VERSION=0~$(date -u -d "$committed" +%Y%m%d).$(printf %s "$describe" | sed 's/-dirty$/+dirty/')
PACKAGE_ARCH=$(go version -m "$program" | sed -n 's/^.*build\tGOARCH=//p')
SOURCE_DATE_EPOCH=$(date -u -d "$committed" +%s)
export PACKAGE_VERSION PACKAGE_ARCH SOURCE_DATE_EPOCH

rm -rf dist/package
mkdir -p dist/package
cp "$program" dist/package/parlor
cp "$out/parlor.cdx.json" "$out/licenses.txt" dist/package/
deploy/package/layout.sh "$program" dist/package
find dist/package -exec touch --date="@$SOURCE_DATE_EPOCH" {} +

for packager in deb rpm; do
	go tool -modfile=deploy/release/go.mod nfpm package --config deploy/nfpm.yaml --packager "$packager" --target "$out"
done
rm -r dist/package
