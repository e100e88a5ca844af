package worker

import (
	"context"
	"reflect"
	"testing"
)

// Whatever a Config says, hooks do it or refuse it: nothing is dropped.
func TestHooksTakeAllOfTheirConfig(t *testing.T) {
	for field := range reflect.TypeFor[Config[int]]().Fields() {
		c := Config[int]{Pool: "jobs"}
		to := reflect.ValueOf(&c).Elem().FieldByIndex(field.Index)
		switch {
		case to.Kind() == reflect.Bool:
			to.SetBool(true)
		case to.CanInt():
			to.SetInt(7)
		case field.Name == "Policy":
			to.SetString("pack")
		case field.Name == "Value":
			c.Value = func() string { return "" }
		case field.Name == "Prepare":
			c.Prepare = func(context.Context) (int, error) { return 0, nil }
		case field.Name == "Pool", field.Name == "Open", field.Name == "Close": // the hooks' own, which pass them on
			continue
		default:
			t.Fatalf("no value for %s", field.Name)
		}
		k := NewHooks(c)
		got := reflect.ValueOf(k.config).FieldByIndex(field.Index)
		if k.wrong == nil && (got.IsZero() || got.Comparable() && !got.Equal(to)) {
			t.Errorf("%s is dropped", field.Name)
		}
	}
}
