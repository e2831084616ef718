// Package lattice is what an actor in Go is written with.
//
// An actor is a program that says which function handles which operation. Each is given the context of its turn and its
// arguments, as one value that JSON fills by name; what it returns is the reply:
//
//	package main
//
//	import lattice "lattice/actor"
//
//	type Order struct {
//		Sku      string `json:"sku"`
//		Quantity int    `json:"quantity"`
//	}
//
//	func init() {
//		lattice.Handle("reserve", func(ctx *lattice.Context, order Order) (int, error) {
//			left, err := lattice.Call[int](ctx, "inventory", "stock", lattice.Args{"sku": order.Sku})
//			if err != nil {
//				return 0, err
//			}
//			if left < order.Quantity {
//				return 0, lattice.Reject("out-of-stock", "only %d of %s are left", left, order.Sku)
//			}
//			return left - order.Quantity, nil
//		})
//	}
//
//	func main() { lattice.Main() }
//
// A replica may cache in variables but must not remember there: the next message may go to another one.
package lattice

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"runtime/debug"
	"strings"
)

// Args are the arguments of a call, by name. A struct with JSON names does as well.
type Args map[string]any

// Nothing is what an operation takes that has no arguments, and what one returns that has no reply.
type Nothing struct{}

// MarshalJSON writes null, as every language has it.
func (Nothing) MarshalJSON() ([]byte, error) { return []byte("null"), nil }

// An Option says more of an operation than its function does.
type Option func(*operation)

// Idempotent says that running an operation twice does no more than running it once, so that the lattice may try again when no
// reply came.
func Idempotent(o *operation) { o.Idempotent = true }

type operation struct {
	Name       string   `json:"name"`
	Parameters []string `json:"parameters"`
	Idempotent bool     `json:"idempotent"`
	required   []string
	bare       bool
	run        func(*Context, []byte) ([]byte, error)
}

// An Actor is a set of operations. A program has one, which Handle adds to; tests may make others.
type Actor struct{ operations []*operation }

// Default is the actor of this program.
var Default = &Actor{}

// Handle makes a function an operation of this program's actor. In is a struct, of which each exported field is a parameter by
// its JSON name; one with omitempty, and a pointer, may be missing. Where there is only one, callers may give its bare value.
// It panics where there is an operation of that name.
func Handle[In, Out any](name string, run func(*Context, In) (Out, error), options ...Option) {
	Add(Default, name, run, options...)
}

// Add is Handle for another actor.
func Add[In, Out any](actor *Actor, name string, run func(*Context, In) (Out, error), options ...Option) {
	if actor.find(name) != nil {
		panic(fmt.Sprintf("two operations of this actor are called %q", name))
	}
	o := &operation{Name: name, Parameters: []string{}}
	o.parameters(reflect.TypeFor[In]())
	for _, option := range options {
		option(o)
	}
	o.run = func(ctx *Context, payload []byte) ([]byte, error) {
		var in In
		if err := o.read(payload, &in); err != nil {
			return nil, err
		}
		out, err := run(ctx, in)
		if err != nil {
			return nil, err
		}
		return json.Marshal(out)
	}
	actor.operations = append(actor.operations, o)
}

func (a *Actor) find(name string) *operation {
	for _, o := range a.operations {
		if o.Name == name {
			return o
		}
	}
	return nil
}

// describe tells what the actor says of itself, for the lattice.
func (a *Actor) describe() ([]byte, error) {
	return json.Marshal(map[string]any{"operations": a.operations})
}

// answer handles one message. What it fails with is a *Rejection or a *CallError.
func (a *Actor) answer(ctx *Context) (reply []byte, err error) {
	defer func() {
		if bug := recover(); bug != nil {
			// The caller learns what happened, and the log where.
			ctx.Log.Error(fmt.Sprintf("operation `%s` panicked: %v\n%s", ctx.message.Operation, bug, debug.Stack()))
			reply, err = nil, Reject("exception", "%v", bug)
		}
	}()
	o := a.find(ctx.message.Operation)
	if o == nil {
		return nil, &CallError{Kind: "no-such-operation", Text: ctx.message.Operation}
	}
	if kind := ctx.message.ContentType; kind != "" && kind != "application/json" {
		return nil, o.malformed("it takes application/json, not %s", kind)
	}
	reply, err = o.run(ctx, ctx.message.Payload)
	if err != nil {
		err = asFailure(err)
	}
	return reply, err
}

func (o *operation) malformed(format string, values ...any) error {
	return &CallError{Kind: "malformed", Text: o.Name + ": " + fmt.Sprintf(format, values...)}
}

// parameters learns them from the type of the arguments.
func (o *operation) parameters(in reflect.Type) {
	if in.Kind() != reflect.Struct {
		o.bare = true
		return
	}
	for _, field := range reflect.VisibleFields(in) {
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		if !field.IsExported() || field.Anonymous || (name == "-" && options == "") {
			continue
		}
		if name == "" {
			name = field.Name
		}
		o.Parameters = append(o.Parameters, name)
		if field.Type.Kind() != reflect.Pointer && !strings.Contains(","+options+",", ",omitempty,") {
			o.required = append(o.required, name)
		}
	}
}

// read fills the arguments; those that are missing, unknown or of another type are said with their names.
func (o *operation) read(payload []byte, in any) error {
	payload = bytes.TrimSpace(payload)
	if len(payload) == 0 {
		payload = []byte("null")
	}
	if o.bare {
		if err := json.Unmarshal(payload, in); err != nil {
			return o.malformed("%v", err)
		}
		return nil
	}
	fields := map[string]json.RawMessage{}
	isObject := payload[0] == '{'
	switch {
	case isObject:
		if err := json.Unmarshal(payload, &fields); err != nil {
			return o.malformed("%v", err)
		}
	case string(payload) != "null" && len(o.Parameters) != 1:
		return o.malformed("it takes an object with the arguments by name")
	}
	if len(o.Parameters) == 1 && string(payload) != "null" {
		// An object whose only field is the parameter, or none, is the arguments; anything else is the bare value.
		only := o.Parameters[0]
		_, named := fields[only]
		if !isObject || len(fields) > 1 || (len(fields) == 1 && !named) {
			fields = map[string]json.RawMessage{only: payload}
		}
	}
	for _, name := range o.required {
		if _, there := fields[name]; !there {
			return o.malformed("argument `%s` is missing", name)
		}
	}
	// JSON in Go takes names in any case; the lattice does not.
	for name := range fields {
		if !contains(o.Parameters, name) {
			return o.malformed("it has no parameter `%s`", name)
		}
	}
	whole, err := json.Marshal(fields)
	if err == nil {
		err = json.Unmarshal(whole, in)
	}
	if err != nil {
		return o.malformed("%v", err)
	}
	return nil
}

func contains(names []string, wanted string) bool {
	for _, name := range names {
		if name == wanted {
			return true
		}
	}
	return false
}
