package main

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"unicode/utf8"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
)

// The Content-Type of a target that serves the format.
var contentTypes = map[string]string{
	"text":        "text/plain;version=0.0.4",
	"openmetrics": "application/openmetrics-text;version=1.0.0",
}

type request struct {
	ID     json.RawMessage `json:"id"`
	Format string          `json:"format"` // text or openmetrics
	Page   []byte          `json:"page"`   // base64
}

type answer struct {
	ID      json.RawMessage   `json:"id"`
	OK      bool              `json:"ok"`
	Error   string            `json:"error,omitempty"`
	Samples []sample          `json:"samples"`             // in the page's order, up to the first error
	Types   map[string]string `json:"types"`               // the last one of a family; its name is as on the page, escapes included
	Hex     map[string]string `json:"types_hex,omitempty"` // as types, for names that are not UTF-8: the keys are in hexadecimal
}

// JSON cannot hold strings that are not UTF-8, and a page may have some. If any string of a sample
// is not UTF-8, hex is true and all of them (the name, and the names and values of labels) are in
// hexadecimal.
type sample struct {
	Name   string      `json:"name"`
	Labels [][2]string `json:"labels"` // sorted; a label that is repeated is here as often as it is on the page
	Value  string      `json:"value"`  // the bits of the float64, as 16 hexadecimal digits: NaN and -0 survive
	TS     *int64      `json:"ts"`     // in milliseconds
	Hex    bool        `json:"hex,omitempty"`
}

// answerAll answers line by line. A malformed request ends it, because an answer might pass for the
// parser's own.
func answerAll(in io.Reader, out io.Writer) error {
	lines, buffer := bufio.NewReader(in), bufio.NewWriter(out)
	encoder := json.NewEncoder(buffer)
	encoder.SetEscapeHTML(false)
	for number := 1; ; number++ {
		line, err := lines.ReadBytes('\n')
		if err != nil && err != io.EOF {
			return fmt.Errorf("reading line %d: %w", number, err)
		}
		if len(bytes.TrimSpace(line)) > 0 {
			var asked request
			if err := json.Unmarshal(line, &asked); err != nil {
				return fmt.Errorf("line %d is not a request: %w", number, err)
			}
			if contentTypes[asked.Format] == "" {
				return fmt.Errorf("line %d: format is %q; it has to be text or openmetrics", number, asked.Format)
			}
			if err := errors.Join(encoder.Encode(parse(asked)), buffer.Flush()); err != nil {
				return fmt.Errorf("answering line %d: %w", number, err)
			}
		}
		if err == io.EOF {
			return nil
		}
	}
}

func parse(asked request) (got answer) {
	got = answer{ID: asked.ID, Samples: []sample{}, Types: map[string]string{}, Hex: map[string]string{}}
	fail := func(text string) { got.OK, got.Error = false, text }
	defer func() {
		if caught := recover(); caught != nil {
			fail(fmt.Sprintf("panic: %v", caught))
		}
	}()
	parser, err := textparse.New(asked.Page, contentTypes[asked.Format], labels.NewSymbolTable(), textparse.ParserOptions{})
	if err != nil {
		panic(err) // The error can only be about the content type.
	}
	// Every entry takes a byte or more. The limit keeps a parser in an endless loop from filling the
	// memory.
	for range len(asked.Page) + 2 {
		entry, err := parser.Next()
		if errors.Is(err, io.EOF) {
			got.OK = true
			return
		}
		if err != nil {
			fail(err.Error())
			return
		}
		switch entry {
		case textparse.EntrySeries:
			got.Samples = append(got.Samples, current(parser))
		case textparse.EntryType:
			family, kind := parser.Type()
			if utf8.Valid(family) {
				got.Types[string(family)] = string(kind)
			} else {
				got.Hex[hex.EncodeToString(family)] = string(kind)
			}
		}
	}
	fail("the parser does not come to an end")
	return
}

// current returns the sample that the parser has just read.
func current(parser textparse.Parser) sample {
	_, timestamp, value := parser.Series()
	it := sample{Labels: [][2]string{}, Value: fmt.Sprintf("%016x", math.Float64bits(value))}
	if timestamp != nil {
		it.TS = new(*timestamp) // the parser's own is overwritten by its next sample
	}
	var set labels.Labels
	parser.Labels(&set)
	named := false
	set.Range(func(label labels.Label) {
		if label.Name == labels.MetricName && !named {
			named, it.Name = true, label.Value
		} else {
			it.Labels = append(it.Labels, [2]string{label.Name, label.Value})
		}
		it.Hex = it.Hex || !utf8.ValidString(label.Name) || !utf8.ValidString(label.Value)
	})
	// Prometheus sorts by names only; with the values, repeated labels have one order too.
	slices.SortFunc(it.Labels, func(a, b [2]string) int { return cmp.Or(cmp.Compare(a[0], b[0]), cmp.Compare(a[1], b[1])) })
	if it.Hex {
		it.Name = hex.EncodeToString([]byte(it.Name))
		for i, label := range it.Labels {
			it.Labels[i] = [2]string{hex.EncodeToString([]byte(label[0])), hex.EncodeToString([]byte(label[1]))}
		}
	}
	return it
}
