package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"sort"

	"sigs.k8s.io/yaml"
)

// healthTests is the content of health_test.yaml, as util/lua/health_test.go of argo-cd reads it.
type healthTests struct {
	Tests []struct {
		InputPath    string `json:"inputPath"`
		HealthStatus health `json:"healthStatus"`
	} `json:"tests"`
}

// actionTests is the content of actions/action_test.yaml, as util/lua/custom_actions_test.go of
// argo-cd reads it.
type actionTests struct {
	DiscoveryTests []struct {
		InputPath string           `json:"inputPath"`
		Result    []resourceAction `json:"result"`
	} `json:"discoveryTests"`
	ActionTests []struct {
		Action             string `json:"action"`
		InputPath          string `json:"inputPath"`
		ExpectedOutputPath string `json:"expectedOutputPath"`
	} `json:"actionTests"`
}

type resourceAction struct {
	Name      string `json:"name"`
	Disabled  bool   `json:"disabled"`
	IconClass string `json:"iconClass"`
}

// testCustomization runs all tests of a folder, and fails if one does, or if there are none.
func testCustomization(folder string, out io.Writer) error {
	run, err := testHealth(folder)
	inActions, actionErr := testActions(filepath.Join(folder, "actions"), folder)
	if err := errors.Join(err, actionErr); err != nil {
		return err
	}
	if run == 0 || inActions == 0 {
		return fmt.Errorf("%s has no tests of its health, or none of its actions", folder)
	}
	_, err = fmt.Fprintf(out, "%d tests of health, %d of actions\n", run, inActions)
	return err
}

func testHealth(folder string) (int, error) {
	var tests healthTests
	if err := readYAML(filepath.Join(folder, "health_test.yaml"), &tests); err != nil {
		return 0, err
	}
	var failures []error
	for _, test := range tests.Tests {
		text, err := os.ReadFile(filepath.Join(folder, test.InputPath))
		if err != nil {
			return 0, err
		}
		object, err := parseObject(text)
		if err != nil {
			return 0, err
		}
		found, err := healthOf(folder, object)
		if err == nil && found != test.HealthStatus {
			err = fmt.Errorf("%s: expected %+v, got %+v", test.InputPath, test.HealthStatus, found)
		}
		failures = append(failures, err)
	}
	return len(tests.Tests), errors.Join(failures...)
}

func testActions(folder, whole string) (int, error) {
	var tests actionTests
	if err := readYAML(filepath.Join(folder, "action_test.yaml"), &tests); err != nil {
		return 0, err
	}
	var failures []error
	for _, test := range tests.DiscoveryTests {
		found, err := discover(folder, test.InputPath)
		sort.Slice(test.Result, func(a, b int) bool { return test.Result[a].Name < test.Result[b].Name })
		if err == nil && !reflect.DeepEqual(found, test.Result) {
			err = fmt.Errorf("actions of %s: expected %+v, got %+v", test.InputPath, test.Result, found)
		}
		failures = append(failures, err)
	}
	for _, test := range tests.ActionTests {
		failures = append(failures, testAction(folder, whole, test.Action, test.InputPath, test.ExpectedOutputPath))
	}
	return len(tests.DiscoveryTests) + len(tests.ActionTests), errors.Join(failures...)
}

// discover returns the actions of an object, by name.
func discover(folder, input string) ([]resourceAction, error) {
	text, err := os.ReadFile(filepath.Join(folder, input))
	if err != nil {
		return nil, err
	}
	object, err := parseObject(text)
	if err != nil {
		return nil, err
	}
	answer, err := runScript(filepath.Join(folder, "discovery.lua"), object.Object)
	if err != nil {
		return nil, err
	}
	byName := map[string]resourceAction{}
	if err := convert(answer, &byName); err != nil {
		return nil, fmt.Errorf("the discovery has returned %v: %w", answer, err)
	}
	var actions []resourceAction
	for name, action := range byName {
		action.Name = name
		actions = append(actions, action)
	}
	sort.Slice(actions, func(a, b int) bool { return actions[a].Name < actions[b].Name })
	return actions, nil
}

func testAction(folder, whole, action, input, expected string) error {
	text, err := os.ReadFile(filepath.Join(folder, input))
	if err != nil {
		return err
	}
	object, err := parseObject(text)
	if err != nil {
		return err
	}
	changed, err := actionOn(whole, action, object)
	if err != nil {
		return err
	}
	var after, wanted map[string]any
	if err := readYAML(filepath.Join(folder, expected), &wanted); err != nil {
		return err
	}
	if err := convert(changed, &after); err != nil {
		return err
	}
	if !reflect.DeepEqual(after, wanted) {
		return fmt.Errorf("%s of %s: expected %v, got %v", action, input, wanted, after)
	}
	return nil
}

func readYAML(path string, into any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := yaml.UnmarshalStrict(text, into); err != nil {
		return fmt.Errorf("parsing %s: %w", path, err)
	}
	return nil
}
