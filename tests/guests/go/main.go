// What tests ask of actors in every language.
package main

import (
	cryptorand "crypto/rand"
	"errors"
	"fmt"
	"math/rand"
	"os"
	"strings"

	lattice "lattice/actor"
)

type echo struct {
	Value any `json:"value"`
}

type say struct {
	Text string `json:"text"`
}

type ask struct {
	To        string `json:"to"`
	Operation string `json:"operation"`
}

var atTheBuild = 0

func init() {
	lattice.Handle("echo", func(_ *lattice.Context, in echo) (any, error) { return in.Value, nil })
	lattice.Handle("env", func(*lattice.Context, lattice.Nothing) (lattice.Args, error) {
		all := lattice.Args{}
		for _, variable := range os.Environ() {
			name, value, _ := strings.Cut(variable, "=")
			all[name] = value
		}
		return all, nil
	}, lattice.Idempotent)
	lattice.Handle("self", func(ctx *lattice.Context, _ lattice.Nothing) (lattice.Args, error) {
		message := ctx.Message()
		var caller any
		if message.Caller != "" {
			caller = message.Caller
		}
		own := lattice.Args{"self": ctx.SelfID(), "caller": caller}
		own["attempt"], own["trace"] = message.Attempt, message.Traceparent
		return own, nil
	})
	lattice.Handle("random", func(*lattice.Context, lattice.Nothing) ([]any, error) {
		var own [1]byte
		_, err := cryptorand.Read(own[:])
		return []any{atTheBuild, rand.Float64(), own[0]}, err
	})
	lattice.Handle("say", func(ctx *lattice.Context, in say) (lattice.Nothing, error) {
		ctx.Log.Debug("hidden")
		ctx.Log.Warn(in.Text)
		fmt.Println("console", in.Text)
		return lattice.Nothing{}, nil
	})
	lattice.Handle("bug", func(*lattice.Context, lattice.Nothing) (string, error) {
		var nobody *say
		return nobody.Text, nil
	})
	lattice.Handle("reject", func(*lattice.Context, lattice.Nothing) (int, error) {
		return 0, &lattice.Rejection{Code: "sold-out", Message: "no tea is left", Details: lattice.Args{"left": 0}}
	})
	// How a call to another actor failed.
	lattice.Handle("ask", func(ctx *lattice.Context, in ask) (lattice.Args, error) {
		reply, err := lattice.Call[any](ctx, in.To, in.Operation, nil)
		var rejection *lattice.Rejection
		var failure *lattice.CallError
		switch {
		case errors.As(err, &rejection):
			return lattice.Args{"code": rejection.Code, "message": rejection.Message, "details": rejection.Details}, nil
		case errors.As(err, &failure):
			return lattice.Args{"kind": failure.Kind, "ran": failure.Ran()}, nil
		}
		return lattice.Args{"reply": reply}, err
	})
	// A call whose failure nobody handles.
	lattice.Handle("hand_on", func(ctx *lattice.Context, in ask) (any, error) {
		return lattice.Call[any](ctx, in.To, in.Operation, nil)
	})
	// Makes the heap grow, and looks whether it stays what it is.
	lattice.Handle("hold", func(ctx *lattice.Context, megabytes int) (int, error) {
		held := make([][]byte, megabytes*16)
		for at := range held {
			held[at] = make([]byte, 64<<10)
			for byte := range held[at] {
				held[at][byte] = uint8(at)
			}
		}
		ctx.Log.Info("holding", "env", os.Environ())
		for at, part := range held {
			if strings.Count(string(part), string([]byte{uint8(at)})) != len(part) {
				return 0, lattice.Reject("spoiled", "part %d is not what it was", at)
			}
		}
		return len(held), nil
	})
}

func main() { lattice.Main() }
