// Sbom writes what is linked into a program: a bill of materials (CycloneDX 1.6, JSON), or
// with -licenses the licenses of it.
//
// It reads what the linker left in the program, and for the licenses the module cache; it
// asks no network. The same program gives the same bytes: the serial number is of its
// digest, and there is no time in it.
package main

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/base64"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/CycloneDX/cyclonedx-go"
)

func main() {
	licenses := flag.Bool("licenses", false, "write the licenses instead")
	version := flag.String("version", "", "the program's version, which the linker does not leave there")
	out := flag.String("out", "", "the file to write")
	flag.Parse()
	if flag.NArg() != 1 || *out == "" {
		fmt.Fprintln(os.Stderr, "usage: sbom [-licenses] [-version VERSION] -out FILE PROGRAM")
		os.Exit(2)
	}
	var text bytes.Buffer
	write := func() error { return writeBill(&text, flag.Arg(0), *version) }
	if *licenses {
		write = func() error { return writeLicenses(&text, flag.Arg(0)) }
	}
	err := write()
	if err == nil {
		err = os.WriteFile(*out, text.Bytes(), 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "sbom:", err)
		os.Exit(1)
	}
}

// linked are the modules in a program, each as it was in the end.
func linked(program string) (*debug.BuildInfo, []*debug.Module, error) {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return nil, nil, fmt.Errorf("read what is linked into %s: %w", program, err)
	}
	var modules []*debug.Module
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		modules = append(modules, m)
	}
	return info, modules, nil
}

func writeBill(w io.Writer, program, version string) error {
	info, modules, err := linked(program)
	if err != nil {
		return err
	}
	data, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	digest := sha256.Sum256(data)
	if version == "" {
		version = info.Main.Version
	}
	root := cyclonedx.Component{
		BOMRef: "pkg:golang/" + info.Main.Path, Type: cyclonedx.ComponentTypeApplication,
		Name: info.Main.Path, Version: version,
		Hashes: &[]cyclonedx.Hash{{Algorithm: cyclonedx.HashAlgoSHA256, Value: fmt.Sprintf("%x", digest)}},
	}
	var components []cyclonedx.Component
	var refs []string
	add := func(name, version, sum string) error {
		c := cyclonedx.Component{
			Type: cyclonedx.ComponentTypeLibrary, Name: name, Version: version,
			PackageURL: "pkg:golang/" + name + "@" + version,
		}
		c.BOMRef = c.PackageURL
		if sum != "" { // h1: and the SHA-256 of the module's file list
			hash, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(sum, "h1:"))
			if err != nil {
				return fmt.Errorf("the checksum of %s: %w", name, err)
			}
			c.Hashes = &[]cyclonedx.Hash{{Algorithm: cyclonedx.HashAlgoSHA256, Value: fmt.Sprintf("%x", hash)}}
		}
		components, refs = append(components, c), append(refs, c.BOMRef)
		return nil
	}
	if err := add("std", info.GoVersion, ""); err != nil {
		return err
	}
	for _, m := range modules {
		if err := add(m.Path, m.Version, m.Sum); err != nil {
			return err
		}
	}
	bill := cyclonedx.NewBOM()
	bill.SerialNumber = fmt.Sprintf("urn:uuid:%x-%x-8%03x-8%03x-%x", digest[0:4], digest[4:6],
		uint16(digest[6])<<4|uint16(digest[7])>>4, uint16(digest[8])<<4|uint16(digest[9])>>4, digest[10:16])
	bill.Metadata = &cyclonedx.Metadata{Component: &root}
	bill.Components = &components
	bill.Dependencies = &[]cyclonedx.Dependency{{Ref: root.BOMRef, Dependencies: &refs}}
	return cyclonedx.NewBOMEncoder(w, cyclonedx.BOMFileFormatJSON).SetPretty(true).EncodeVersion(bill, cyclonedx.SpecVersion1_6)
}

// license is what a file with a license, or with what a license wants kept, is called.
var license = regexp.MustCompile(`(?i)^(licen[sc]e|copying|notice|patents)([-._].*)?$`)

// writeLicenses writes the files of licenses at the top of each module that is linked in,
// and of Go itself. A module without one is an error.
func writeLicenses(w io.Writer, program string) error {
	_, modules, err := linked(program)
	if err != nil {
		return err
	}
	goroot, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return fmt.Errorf("go env GOROOT: %w", err)
	}
	dirs := map[string]string{"Go": strings.TrimSpace(string(goroot))}
	names := []string{"Go"}
	for _, m := range modules {
		names = append(names, m.Path+" "+m.Version)
		out, err := exec.Command("go", "mod", "download", "-json", m.Path+"@"+m.Version).Output()
		if err != nil {
			return fmt.Errorf("go mod download %s@%s: %w", m.Path, m.Version, err)
		}
		found := regexp.MustCompile(`"Dir": "(.*)"`).FindSubmatch(out)
		if found == nil {
			return fmt.Errorf("go mod download says not where %s is", m.Path)
		}
		dirs[m.Path+" "+m.Version] = string(found[1])
	}
	for _, name := range names {
		entries, err := os.ReadDir(dirs[name])
		if err != nil {
			return err
		}
		// What is the same text with another name is not said twice.
		var texts [][]byte
		for _, e := range entries {
			if e.IsDir() || !license.MatchString(e.Name()) {
				continue
			}
			text, err := os.ReadFile(filepath.Join(dirs[name], e.Name()))
			if err != nil {
				return err
			}
			text = bytes.TrimSpace(text)
			if !slices.ContainsFunc(texts, func(other []byte) bool { return bytes.Equal(other, text) }) {
				texts = append(texts, text)
			}
		}
		if len(texts) == 0 && name == "Go" {
			continue // a distribution's Go has it elsewhere
		}
		if len(texts) == 0 {
			return fmt.Errorf("%s has no license", name)
		}
		if _, err := fmt.Fprintf(w, "======== %s\n\n%s\n\n", name, bytes.Join(texts, []byte("\n\n--------\n\n"))); err != nil {
			return err
		}
	}
	return nil
}
