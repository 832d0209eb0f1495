package filter

import (
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// confusables are characters that pass for another, which stands for them when words
// are compared: letters of other scripts, digits and signs.
var confusables = map[rune]rune{
	// Cyrillic and Greek letters that look like Latin ones.
	'а': 'a', 'в': 'b', 'е': 'e', 'з': '3', 'и': 'u', 'і': 'i', 'ї': 'i', 'ј': 'j', 'к': 'k', 'м': 'm', 'н': 'h', 'о': 'o', 'п': 'n', 'р': 'p', 'с': 'c', 'ѕ': 's', 'т': 't', 'у': 'y', 'х': 'x', 'ь': 'b', 'ԁ': 'd', 'һ': 'h', 'ԛ': 'q', 'ԝ': 'w',
	'α': 'a', 'β': 'b', 'γ': 'y', 'δ': 'd', 'ε': 'e', 'η': 'n', 'ι': 'i', 'κ': 'k', 'ν': 'v', 'ο': 'o', 'ρ': 'p', 'σ': 'o', 'τ': 't', 'υ': 'u', 'χ': 'x', 'ω': 'w',
	// Latin letters that no decomposition makes plain.
	'ı': 'i', 'ł': 'l', 'ø': 'o', 'đ': 'd', 'ħ': 'h', 'ŧ': 't', 'ƒ': 'f', 'ʟ': 'l', 'ɡ': 'g', 'ɑ': 'a',
	// Digits that are written for letters.
	'0': 'o', '1': 'i', '3': 'e', '4': 'a', '5': 's', '7': 't', '8': 'b',
}

// signs are written for letters too, but also for themselves: a text is looked at both ways.
var signs = map[rune]rune{'@': 'a', '$': 's', '!': 'i', '|': 'i', '€': 'e', '£': 'l', '+': 't'}

// folded is a text as it is compared: small letters, without accents, without what
// cannot be seen, and with what passes for a letter as that letter.
type folded struct {
	runes []rune
	// from and to are where each rune comes from in the text, in bytes.
	from, to []int
}

// fold folds a text, with signs as the letters that they are written for, or as they are.
func fold(text string, letters bool) folded {
	var f folded
	for at := 0; at < len(text); {
		_, size := utf8.DecodeRuneInString(text[at:])
		// A letter with its accents, as one or as several code points.
		for _, r := range norm.NFKD.String(text[at : at+size]) {
			if unicode.Is(unicode.Mn, r) || unicode.Is(unicode.Me, r) || unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Variation_Selector, r) {
				continue
			}
			r = unicode.ToLower(r)
			if sign, ok := signs[r]; ok && letters {
				r = sign
			}
			if plain, ok := confusables[r]; ok {
				r = plain
				if again, ok := confusables[r]; ok {
					r = again
				}
			}
			f.runes = append(f.runes, r)
			f.from, f.to = append(f.from, at), append(f.to, at+size)
		}
		at += size
	}
	return f
}

// isWord reports whether a rune is part of a word.
func isWord(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }
