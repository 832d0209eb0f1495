package config

import (
	"errors"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Files in YAML are read strictly, and what is wrong with them is said with its line. These
// are the parts of that which do not depend on what the file is for.

// Document returns the one document of a YAML file, nil for a file that says nothing, or
// what keeps it from being read, with the line in Where.
func Document(text []byte) (ast.Node, Faults) {
	tokens := lexer.Tokenize(string(text))
	if line := tooDeep(tokens); line != 0 {
		return nil, Faults{{Where: strconv.Itoa(line), Message: "the file is nested deeper than " + strconv.Itoa(maxDepth)}}
	}
	file, err := parser.Parse(tokens, 0)
	switch {
	case err != nil:
		return nil, Faults{syntaxFault(err)}
	case len(file.Docs) > 1:
		return nil, Faults{{Where: "1", Message: "the file has several YAML documents, it must have one"}}
	case len(file.Docs) == 0:
		return nil, nil
	}
	switch body := file.Docs[0].Body.(type) {
	case nil, *ast.CommentGroupNode, *ast.NullNode:
		return nil, nil
	default:
		return body, nil
	}
}

// maxDepth is how deep brackets and braces may be nested. What the parser needs grows with
// the square of it.
const maxDepth = 100

// tooDeep is the line where a file is nested deeper than maxDepth; 0: nowhere.
func tooDeep(tokens token.Tokens) int {
	depth := 0
	for _, t := range tokens {
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			depth++
		case token.SequenceEndType, token.MappingEndType:
			depth = max(depth-1, 0)
		}
		if depth > maxDepth {
			return t.Position.Line
		}
	}
	return 0
}

// Mapping returns the entries of a mapping.
func Mapping(node ast.Node) ([]*ast.MappingValueNode, bool) {
	switch node := node.(type) {
	case *ast.MappingNode:
		return node.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{node}, true
	}
	return nil, false
}

// IsScalar reports whether a node is a single value. Its token has the text as it stands
// in the file.
func IsScalar(n ast.Node) bool {
	switch n.(type) {
	case *ast.StringNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return true
	}
	return false
}

// Line is the line of a node.
func Line(n ast.Node) string { return strconv.Itoa(n.GetToken().Position.Line) }

func syntaxFault(err error) Fault {
	var syntax yaml.Error
	if errors.As(err, &syntax) && syntax.GetToken() != nil {
		return Fault{Where: strconv.Itoa(syntax.GetToken().Position.Line), Message: "not YAML: " + syntax.GetMessage()}
	}
	return Fault{Message: "not YAML: " + err.Error()}
}

// Closest is the name that was probably meant, or "".
func Closest(word string, names []string) string {
	best, distance := "", 4 // farther than this is another word
	for _, name := range names {
		if d := editDistance(strings.ToLower(word), strings.ToLower(name)); d < distance {
			best, distance = name, d
		}
	}
	return best
}

// editDistance is the Levenshtein distance.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
