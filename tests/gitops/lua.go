package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// The time that Argo CD gives to a script.
const scriptTime = time.Second

// health is the answer of a health script, with the names of Argo CD's type.
type health struct {
	Status  string `json:"status"`
	Message string `json:"message"`
}

// The answers that Argo CD accepts.
var healthStatuses = map[string]bool{
	"Healthy": true, "Progressing": true, "Degraded": true,
	"Suspended": true, "Missing": true, "Unknown": true,
}

// runScript runs a script with the object in the global variable obj. The libraries are those that
// Argo CD opens where useOpenLibs is not set: package, base and table; os is left out, which has
// only the time there. See util/lua/lua.go of argo-cd at commit 00101b74.
func runScript(path string, object map[string]any) (any, error) {
	script, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	libraries := []struct {
		name string
		open lua.LGFunction
	}{
		{lua.LoadLibName, lua.OpenPackage},
		{lua.BaseLibName, lua.OpenBase},
		{lua.TabLibName, lua.OpenTable},
	}
	for _, library := range libraries {
		call := lua.P{Fn: state.NewFunction(library.open), Protect: true}
		if err := state.CallByParam(call, lua.LString(library.name)); err != nil {
			return nil, err
		}
	}
	limited, cancel := context.WithTimeout(context.Background(), scriptTime)
	defer cancel()
	state.SetContext(limited)
	state.SetGlobal("obj", toLua(state, object))
	if err := state.DoString(string(script)); err != nil {
		return nil, fmt.Errorf("running %s: %w", path, err)
	}
	return fromLua(state.Get(-1))
}

// toLua converts an object. A null is absent, as in Argo CD.
func toLua(state *lua.LState, value any) lua.LValue {
	switch value := value.(type) {
	case bool:
		return lua.LBool(value)
	case string:
		return lua.LString(value)
	case int64:
		return lua.LNumber(value)
	case float64:
		return lua.LNumber(value)
	case []any:
		table := state.CreateTable(len(value), 0)
		for _, item := range value {
			table.Append(toLua(state, item))
		}
		return table
	case map[string]any:
		table := state.CreateTable(0, len(value))
		for key, item := range value {
			table.RawSetString(key, toLua(state, item))
		}
		return table
	}
	return lua.LNil
}

// fromLua converts an answer. An empty table becomes an empty list, as in Argo CD.
func fromLua(value lua.LValue) (any, error) {
	switch value := value.(type) {
	case *lua.LNilType:
		return nil, nil
	case lua.LBool:
		return bool(value), nil
	case lua.LString:
		return string(value), nil
	case lua.LNumber:
		return float64(value), nil
	case *lua.LTable:
		return fromTable(value)
	}
	return nil, fmt.Errorf("a script has returned a %s", value.Type())
}

func fromTable(table *lua.LTable) (any, error) {
	list, object := []any{}, map[string]any{}
	var failure error
	table.ForEach(func(key, value lua.LValue) {
		item, err := fromLua(value)
		if err != nil {
			failure = err
		}
		if name, isName := key.(lua.LString); isName {
			object[string(name)] = item
		} else {
			list = append(list, item)
		}
	})
	if failure != nil {
		return nil, failure
	}
	if len(object) > 0 {
		if len(list) > 0 {
			return nil, fmt.Errorf("a script has returned a table with names and numbers")
		}
		return object, nil
	}
	return list, nil
}

// healthOf runs the health script of a folder. An object that is being deleted never gets there:
// Argo CD answers for it before (GetResourceHealth of its gitops-engine).
func healthOf(folder string, object *unstructured.Unstructured) (health, error) {
	if object.GetDeletionTimestamp() != nil {
		return health{Status: "Progressing", Message: "Pending deletion"}, nil
	}
	var found health
	answer, err := runScript(filepath.Join(folder, "health.lua"), object.Object)
	if err != nil {
		return found, err
	}
	if err := convert(answer, &found); err != nil {
		return found, fmt.Errorf("the health script has returned %v: %w", answer, err)
	}
	if !healthStatuses[found.Status] {
		return found, fmt.Errorf("the health script has returned the status %q", found.Status)
	}
	return found, nil
}

// actionOn runs an action of a folder, and returns the object that it leaves.
func actionOn(folder, name string, object *unstructured.Unstructured) (map[string]any, error) {
	answer, err := runScript(filepath.Join(folder, "actions", name, "action.lua"), object.Object)
	if err != nil {
		return nil, err
	}
	changed, isObject := answer.(map[string]any)
	if !isObject {
		return nil, fmt.Errorf("the action %s has returned no object", name)
	}
	return restoreEmpty(changed, object.Object), nil
}

// restoreEmpty turns empty lists back into the empty objects that they were before the script, as
// Argo CD does.
func restoreEmpty(changed, before map[string]any) map[string]any {
	for key, old := range before {
		switch value := changed[key].(type) {
		case map[string]any:
			if old, isObject := old.(map[string]any); isObject {
				changed[key] = restoreEmpty(value, old)
			}
		case []any:
			if old, isObject := old.(map[string]any); isObject && len(value) == 0 {
				changed[key] = old
			}
		}
	}
	return changed
}

// convert moves a value into a type by way of JSON.
func convert(from, to any) error {
	text, err := json.Marshal(from)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, to)
}

func printHealth(folder string, in io.Reader, out io.Writer) error {
	object, err := readObject(in)
	if err != nil {
		return err
	}
	found, err := healthOf(folder, object)
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(found)
}

func printAction(folder, name string, in io.Reader, out io.Writer) error {
	object, err := readObject(in)
	if err != nil {
		return err
	}
	changed, err := actionOn(folder, name, object)
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(changed)
}
