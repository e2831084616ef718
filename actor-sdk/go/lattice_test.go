package lattice

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

type hello struct {
	Name string `json:"name"`
}

type line struct {
	Sku      string `json:"sku"`
	Quantity *int   `json:"quantity"`
}

func shop() *Actor {
	actor := &Actor{}
	Add(actor, "hello", func(_ *Context, in hello) (string, error) { return "Hello, " + in.Name + "!", nil }, Idempotent)
	Add(actor, "add", func(_ *Context, in line) (line, error) {
		if in.Quantity == nil {
			in.Quantity = new(int)
			*in.Quantity = 1
		}
		return in, nil
	})
	Add(actor, "nothing", func(*Context, Nothing) (Nothing, error) { return Nothing{}, nil })
	Add(actor, "bare", func(_ *Context, numbers []int) (int, error) { return len(numbers), nil })
	Add(actor, "fails", func(_ *Context, what string) (int, error) {
		switch what {
		case "bug":
			var nobody *hello
			return len(nobody.Name), nil
		case "rejection":
			return 0, fmt.Errorf("wrapped: %w", &Rejection{"sold-out", "no tea is left", Args{"left": 0}})
		case "other":
			return 0, errors.New("some error of Go")
		}
		return 0, &CallError{Kind: "overloaded", Text: "x"}
	})
	return actor
}

func ask(operation, payload string) (string, error) {
	m := &place{NewMesh(), "shop"}
	message := Message{Operation: operation, Payload: []byte(payload), ContentType: "application/json"}
	reply, err := shop().answer(newContext(m, message))
	return string(reply), err
}

func TestArgumentsAreReadByTheRulesThatHoldInEveryLanguage(t *testing.T) {
	for _, row := range [][3]string{
		{"hello", `{"name": "Ada"}`, `"Hello, Ada!"`},
		{"hello", `"Ada"`, `"Hello, Ada!"`},
		{"add", `{"sku": "téa 🍵", "quantity": 2}`, `{"sku":"téa 🍵","quantity":2}`},
		{"add", `{"sku": "tea"}`, `{"sku":"tea","quantity":1}`},
		{"nothing", ``, `null`},
		{"nothing", `{}`, `null`},
		{"bare", `[1, 2]`, `2`},
	} {
		if reply, err := ask(row[0], row[1]); reply != row[2] || err != nil {
			t.Errorf("%s %s: %s %v", row[0], row[1], reply, err)
		}
	}
	for _, row := range [][3]string{
		{"hello", ``, "`name` is missing"},
		{"hello", `{}`, "`name` is missing"},
		{"hello", `{`, "hello: "},
		{"hello", `{"Name": "Ada"}`, "hello: "},
		{"hello", `3`, "hello: "},
		{"add", `{"quantity": 1}`, "`sku` is missing"},
		{"add", `{"sku": "tea", "size": 1}`, "no parameter `size`"},
		{"add", `"tea"`, "an object with the arguments by name"},
		{"nothing", `{"a": 1}`, "no parameter `a`"},
	} {
		_, err := ask(row[0], row[1])
		var failure *CallError
		if !errors.As(err, &failure) || failure.Kind != "malformed" || !strings.Contains(failure.Text, row[2]) {
			t.Errorf("%s %s: %v", row[0], row[1], err)
		}
	}
}

func TestErrorsAreWhatTheyAreAndBugsAreRejections(t *testing.T) {
	codes := map[string]string{"rejection": "sold-out", "bug": "exception", "other": "error"}
	for what, code := range codes {
		_, err := ask("fails", `"`+what+`"`)
		var rejection *Rejection
		if !errors.As(err, &rejection) || rejection.Code != code {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, err := ask("fails", `"overload"`)
	var failure *CallError
	if !errors.As(err, &failure) || !failure.IsRetryable() || failure.Ran() != "no" {
		t.Error(err)
	}
	if _, err := ask("absent", ""); err.(*CallError).Kind != "no-such-operation" {
		t.Error(err)
	}
}

func TestActorsCallByName(t *testing.T) {
	mesh := NewMesh().Actor("shop", shop())
	mesh.Answer("shop", "price", func(args Args) (any, error) { return len(args["sku"].(string)), nil })
	ctx := mesh.Context()
	if greeting, err := Call[string](ctx, "shop", "hello", Args{"name": "Ada"}); greeting != "Hello, Ada!" || err != nil {
		t.Error(greeting, err)
	}
	if price, err := Call[int](ctx, "shop", "price", line{Sku: "tea"}); price != 3 || err != nil {
		t.Error(price, err)
	}
	if _, err := Call[int](ctx, "nobody", "x", nil); err.(*CallError).Kind != "no-such-actor" {
		t.Error(err)
	}
	if mesh.Calls[0].Args["name"] != "Ada" {
		t.Error(mesh.Calls)
	}
}

func TestOperationsAreListedWithWhatTheySayOfThemselves(t *testing.T) {
	said, err := shop().describe()
	wanted := `{"operations":[{"name":"hello","parameters":["name"],"idempotent":true},` +
		`{"name":"add","parameters":["sku","quantity"],"idempotent":false},`
	if err != nil || !strings.HasPrefix(string(said), wanted) {
		t.Error(string(said), err)
	}
	defer func() {
		if recover() == nil {
			t.Error("two operations of one name")
		}
	}()
	Add(shop(), "hello", func(*Context, Nothing) (int, error) { return 0, nil })
}

func TestTheLogTakesAttributes(t *testing.T) {
	mesh := NewMesh()
	mesh.Context().Log.With("a", 1).WithGroup("g").Info("said", "b", "two")
	mesh.Context().Log.Debug("hidden")
	if len(mesh.Logged) != 1 || mesh.Logged[0] != "said a=1 g.b=two" {
		t.Error(mesh.Logged)
	}
}
