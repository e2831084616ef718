package lattice

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"time"
)

// A Message is one message, as an actor sees it.
type Message struct {
	// The same over retries of one call.
	ID          string
	Operation   string
	Payload     []byte
	ContentType string
	// The calling actor's ID; external for a client from outside, empty for the admin API.
	Caller string
	// What was left of the deadline when the turn began.
	Remaining time.Duration
	// The W3C trace context of this turn, if any.
	Traceparent string
	// 1 on the first try.
	Attempt uint32
}

// mesh is what a context calls other actors by.
type mesh interface {
	call(to, operation string, payload []byte, timeout time.Duration) ([]byte, error)
	selfID() string
	log(level slog.Level, target, text string)
}

// A Context is one turn: the message that is handled, and what the actor may do meanwhile.
type Context struct {
	// Writes to the actor's log, where the manifest grants it.
	Log     *slog.Logger
	mesh    mesh
	message Message
}

func newContext(m mesh, message Message) *Context {
	return &Context{Log: slog.New(&handler{mesh: m}), mesh: m, message: message}
}

// Message is the one that is handled.
func (c *Context) Message() Message { return c.message }

// SelfID is this actor's own ID.
func (c *Context) SelfID() string { return c.mesh.selfID() }

// Call calls another actor, within what is left of this turn's deadline, and gives its reply. The error is a *Rejection, the
// actor's own, or a *CallError.
//
// to is its ID: inventory, or cart/alice for a key. arguments are Args, or what JSON makes an object of; nil for none.
func Call[Out any](ctx *Context, to, operation string, arguments any) (Out, error) {
	return CallWithin[Out](ctx, 0, to, operation, arguments)
}

// CallWithin is Call with a time limit of its own.
func CallWithin[Out any](ctx *Context, timeout time.Duration, to, operation string, arguments any) (Out, error) {
	var out Out
	if arguments == nil {
		arguments = Args{}
	}
	payload, err := json.Marshal(arguments)
	if err != nil {
		return out, &CallError{Kind: "malformed", Text: fmt.Sprintf("the arguments of `%s`: %v", operation, err)}
	}
	reply, err := ctx.mesh.call(to, operation, payload, timeout)
	if err != nil {
		return out, err
	}
	if len(bytes.TrimSpace(reply)) == 0 {
		return out, nil
	}
	if err := json.Unmarshal(reply, &out); err != nil {
		return out, &CallError{Kind: "malformed", Text: fmt.Sprintf("the reply of `%s`: %v", operation, err), ran: "yes"}
	}
	return out, nil
}

// handler is Go's structured log as the lattice's.
type handler struct {
	mesh   mesh
	prefix string
	suffix string
}

func (h *handler) Enabled(_ context.Context, level slog.Level) bool { return level >= leastLevel() }

func (h *handler) Handle(_ context.Context, record slog.Record) error {
	var text strings.Builder
	text.WriteString(record.Message + h.suffix)
	record.Attrs(func(attribute slog.Attr) bool {
		fmt.Fprintf(&text, " %s%s", h.prefix, attribute)
		return true
	})
	h.mesh.log(record.Level, "actor", text.String())
	return nil
}

func (h *handler) WithAttrs(attributes []slog.Attr) slog.Handler {
	with := *h
	for _, attribute := range attributes {
		with.suffix += fmt.Sprintf(" %s%s", h.prefix, attribute)
	}
	return &with
}

func (h *handler) WithGroup(name string) slog.Handler {
	with := *h
	with.prefix += name + "."
	return &with
}
