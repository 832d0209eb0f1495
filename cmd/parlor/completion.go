package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/alecthomas/kong"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ivschat"
)

type completionCommand struct {
	Shell string `arg:"" name:"shell" enum:"bash, zsh, fish" help:"${enum}."`
}

// Help is called by kong.
func (c *completionCommand) Help() string {
	return `For each shell:

    eval "$(parlor completion bash)"         # in ~/.bashrc
    source <(parlor completion zsh)          # in ~/.zshrc, after compinit
    parlor completion fish | source          # in ~/.config/fish/config.fish`
}

// The scripts ask parlor complete, which answers in lines: a word that the line may go
// on with, a tab, what it is. A line :files or :directories asks the shell for its own.
var completionScripts = map[string]string{
	// A candidate of bash replaces what follows the = of a word, unless COMP_WORDBREAKS was
	// changed so that = breaks no words. bash 3, as macOS has it, knows no compopt.
	"bash": `_parlor() {
    local cur=${COMP_WORDS[COMP_CWORD]} start= word what
    [[ $cur == -*=* ]] && start=${cur%%=*}=
    COMPREPLY=()
    while IFS=$'\t' read -r word what; do
        case $word in
        :files) compopt -o default 2>/dev/null ;;
        :directories) compopt -o dirnames 2>/dev/null ;;
        *) COMPREPLY+=("$start$word") ;;
        esac
    done < <(parlor complete -- "${COMP_LINE:0:COMP_POINT}" 2>/dev/null)
}
complete -F _parlor parlor
`,
	"zsh": `#compdef parlor
_parlor() {
    local -a found
    local word what files=
    while IFS=$'\t' read -r word what; do
        case $word in
        :files) files=1 ;;
        :directories) files=-/ ;;
        *) found+=("${word//:/\\:}:$what") ;;
        esac
    done < <(parlor complete -- "${(j: :)words[1,CURRENT-1]} $PREFIX" 2>/dev/null)
    compset -P '*='
    (( $#found )) && _describe parlor found
    case $files in
    1) _files ;;
    -/) _files -/ ;;
    esac
}
if [[ $funcstack[1] == _parlor ]]; then
    _parlor "$@" # the file is in fpath, and this is the first time
else
    compdef _parlor parlor
fi
`,
	"fish": `function __parlor_complete
    for line in (parlor complete -- (commandline -cp | string collect) 2>/dev/null)
        set -l word (string split -m 1 -- \t $line)
        set -l start (string match -r -- '^--?[a-z-]+=' (commandline -ct))
        switch $word[1]
            case :files
                __fish_complete_path (string replace -r -- '^--?[a-z-]+=' '' (commandline -ct)) | string replace -r -- '^' "$start"
            case :directories
                __fish_complete_directories (string replace -r -- '^--?[a-z-]+=' '' (commandline -ct)) | string replace -r -- '^' "$start"
            case '*'
                echo "$start$line"
        end
    end
end
complete -c parlor -f -a '(__parlor_complete)'
`,
}

func (c *completionCommand) Run(line *kong.Context) error {
	_, err := fmt.Fprint(line.Stdout, completionScripts[c.Shell])
	return err
}

type completeCommand struct {
	Line string `arg:"" name:"line" help:"The line, from parlor to where the cursor is."`
}

func (c *completeCommand) Run(line *kong.Context) error {
	for _, f := range unfinishedLine(line.Model.Node, c.Line).complete() {
		if _, err := fmt.Fprintf(line.Stdout, "%s\t%s\n", f.word, f.what); err != nil {
			return err
		}
	}
	return nil
}

// candidate is a word that a line may go on with.
type candidate struct{ word, what string }

// unfinished is a line up to the cursor.
type unfinished struct {
	node       *kong.Node        // the verb, as far as it is named
	flags      map[string]string // the values that it gives, by the flags' names
	given      int               // positional words
	onlyValues bool              // -- was there: what follows is no flag

	flag *kong.Flag // whose value is being written, or nil
	word string     // what is written of the last word
}

// unfinishedLine takes in a line. What it does not understand it passes over.
func unfinishedLine(root *kong.Node, line string) *unfinished {
	words := splitLine(line)
	u := &unfinished{node: root, flags: map[string]string{}, word: words[len(words)-1]}
	for _, word := range words[1:max(1, len(words)-1)] {
		name, value, given := strings.Cut(word, "=")
		switch {
		case u.flag != nil:
			u.flags[u.flag.Name], u.flag = word, nil
		case u.onlyValues || !strings.HasPrefix(word, "-") || word == "-":
			u.enter(word)
		case word == "--":
			u.onlyValues = true
		default:
			flag := u.named(name)
			switch {
			case flag == nil || flag.IsBool():
			case given:
				u.flags[flag.Name] = value
			default:
				u.flag = flag
			}
		}
	}
	if name, value, given := strings.Cut(u.word, "="); u.flag == nil && given && strings.HasPrefix(u.word, "--") && !u.onlyValues {
		u.flag, u.word = u.named(name), value
		if u.flag == nil {
			u.onlyValues, u.given = true, len(u.node.Positional) // nothing goes on from there
		}
	}
	return u
}

// enter takes a word that is no flag.
func (u *unfinished) enter(word string) {
	for _, child := range u.node.Children {
		if child.Name == word {
			u.node = child
			return
		}
	}
	u.given++
}

// named returns a flag by its name with dashes, or nil.
func (u *unfinished) named(name string) *kong.Flag {
	for _, flag := range u.all() {
		if name == "--"+flag.Name || flag.Short != 0 && name == "-"+string(flag.Short) {
			return flag
		}
	}
	return nil
}

func (u *unfinished) all() []*kong.Flag { return slices.Concat(u.node.AllFlags(true)...) }

// complete returns what the last word may be.
func (u *unfinished) complete() (all []candidate) {
	switch {
	case u.flag != nil:
		all = u.values(u.flag.Value)
	case strings.HasPrefix(u.word, "-") && !u.onlyValues:
		for _, flag := range u.all() {
			all = append(all, candidate{"--" + flag.Name, flag.Help})
		}
	case len(u.node.Children) > 0 && u.given > 0: // a verb that is not known
	case len(u.node.Children) > 0:
		for _, child := range u.node.Children {
			if !child.Hidden {
				all = append(all, candidate{child.Name, child.Help})
			}
		}
	default:
		// The last positional may be there any number of times.
		if n := len(u.node.Positional); n > 0 && (u.given < n || u.node.Positional[n-1].IsCumulative()) {
			all = u.values(u.node.Positional[min(u.given, n-1)])
		}
	}
	all = slices.DeleteFunc(all, func(c candidate) bool { return !strings.HasPrefix(c.word, u.word) && !strings.HasPrefix(c.word, ":") })
	slices.SortStableFunc(all, func(a, b candidate) int { return cmp.Compare(a.word, b.word) })
	return all
}

// values are what a flag or a positional may have.
func (u *unfinished) values(v *kong.Value) (all []candidate) {
	switch placeholder := v.Tag.PlaceHolder; {
	case v.Enum != "":
		for _, value := range v.EnumSlice() {
			all = append(all, candidate{value, ""})
		}
	case v.Name == "room":
		return u.roomNames()
	case placeholder == "FILE":
		return []candidate{{":files", ""}}
	case placeholder == "DIR" || v.Name == "dir":
		return []candidate{{":directories", ""}}
	}
	return all
}

// roomPatience is how long the tab key waits for a server.
const roomPatience = time.Second

// roomNames are those of the first rooms of the server that the line is for. It is
// asked once: none, if it does not answer at once.
func (u *unfinished) roomNames() (all []candidate) {
	flag := u.named("--endpoint")
	if flag == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), roomPatience)
	defer cancel()
	server := endpointFlag{Endpoint: cmp.Or(u.flags["endpoint"], os.Getenv(flag.Envs[0]), flag.Default)}
	if server.check() != nil {
		return nil
	}
	api, err := server.client(ctx)
	if err != nil {
		return nil
	}
	out, err := api.ListRooms(ctx, &ivschat.ListRoomsInput{MaxResults: aws.Int32(maxPage)}, func(o *ivschat.Options) { o.RetryMaxAttempts = 1 })
	if err != nil {
		return nil
	}
	seen := map[string]int{}
	for _, room := range out.Rooms {
		seen[aws.ToString(room.Name)]++
	}
	for _, room := range out.Rooms {
		if name := aws.ToString(room.Name); name != "" && seen[name] == 1 && name == printable(name) {
			all = append(all, candidate{name, aws.ToString(room.Arn)})
		}
	}
	return all
}

// splitLine splits a line into words as a shell does, but expands nothing. The last word is
// the one that is being written, maybe "".
func splitLine(line string) (words []string) {
	var word strings.Builder
	quote, escaped, begun := rune(0), false, false
	for _, r := range line {
		switch {
		case escaped:
			word.WriteRune(r)
			escaped = false
		case r == '\\' && quote != '\'':
			escaped, begun = true, true
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '\'' || r == '"':
			quote, begun = r, true
		case unicode.IsSpace(r):
			if begun {
				words = append(words, word.String())
			}
			word.Reset()
			begun = false
		default:
			word.WriteRune(r)
			begun = true
		}
	}
	return append(words, word.String())
}
