package main

import (
	"fmt"
	"io"

	flux "github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	upstream "sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/yaml"
)

// kstatus computes the status of an object by upstream's library and by the copy of it that Flux
// and Helm 4 use. It fails if they differ.
func kstatus(in io.Reader, out io.Writer) error {
	object, err := readObject(in)
	if err != nil {
		return err
	}
	byUpstream, err := upstream.Compute(object)
	if err != nil {
		return fmt.Errorf("computing the status: %w", err)
	}
	byFlux, err := flux.Compute(object)
	if err != nil {
		return fmt.Errorf("computing the status by Flux's library: %w", err)
	}
	if string(byUpstream.Status) != string(byFlux.Status) {
		return fmt.Errorf("upstream's library says %s, and Flux's %s", byUpstream.Status, byFlux.Status)
	}
	_, err = fmt.Fprintf(out, "%s\n%s\n", byUpstream.Status, byUpstream.Message)
	return err
}

func readObject(in io.Reader) (*unstructured.Unstructured, error) {
	text, err := io.ReadAll(in)
	if err != nil {
		return nil, fmt.Errorf("reading the object: %w", err)
	}
	return parseObject(text)
}

func parseObject(text []byte) (*unstructured.Unstructured, error) {
	json, err := yaml.YAMLToJSON(text)
	if err != nil {
		return nil, fmt.Errorf("parsing the object: %w", err)
	}
	object := &unstructured.Unstructured{}
	// Integers become int64, as they do in Argo CD's controller.
	if err := object.UnmarshalJSON(json); err != nil {
		return nil, fmt.Errorf("parsing the object: %w", err)
	}
	return object, nil
}
