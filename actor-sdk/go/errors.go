package lattice

import (
	"encoding/json"
	"errors"
	"fmt"
)

// A Rejection is an actor's own error. Its callers match the code.
type Rejection struct {
	// A stable word, such as out-of-stock.
	Code string
	// One sentence for people.
	Message string
	// More for programs; it travels as JSON. Of a call that was rejected it is what JSON gives.
	Details any
}

// Reject makes one, with a message as fmt.Sprintf does.
func Reject(code, format string, values ...any) *Rejection {
	return &Rejection{Code: code, Message: fmt.Sprintf(format, values...)}
}

func (r *Rejection) Error() string { return r.Code + ": " + r.Message }

// A CallError says why a call got no reply, other than by an error of the actor's own, which is a Rejection.
type CallError struct {
	// The stable word of this kind of failure, the one that lattice prints.
	Kind string
	// What it speaks of.
	Text string
	// Whether the message was handled, where the kind alone does not say so.
	ran string
	// Of a payload that is too large, in bytes.
	Limit, Size uint64
}

func (e *CallError) Error() string {
	if e.Text == "" {
		return e.Kind
	}
	return e.Kind + ": " + e.Text
}

// Ran tells whether the message was handled: no, maybe or yes.
func (e *CallError) Ran() string {
	if e.ran != "" {
		return e.ran
	}
	switch e.Kind {
	case "deadline", "unknown", "cancelled":
		return "maybe"
	case "trapped":
		return "yes"
	}
	return "no"
}

// IsRetryable tells whether the same call is safe and may do better a moment later: it surely did not run, and the reason passes.
func (e *CallError) IsRetryable() bool {
	return e.Kind == "no-replica" || e.Kind == "overloaded" || e.Kind == "not-here"
}

// asFailure is what an operation's error is to its caller.
func asFailure(err error) error {
	var rejection *Rejection
	var call *CallError
	switch {
	case errors.As(err, &rejection):
		return rejection
	case errors.As(err, &call):
		return call
	}
	return &Rejection{Code: "error", Message: err.Error()}
}

// details writes what a rejection has for programs. What cannot be written is left out: the rejection itself matters more.
func (r *Rejection) details() (string, bool) {
	if r.Details == nil {
		return "", false
	}
	written, err := json.Marshal(r.Details)
	return string(written), err == nil
}

// readDetails is JSON by contract only; otherwise it stays text.
func readDetails(text string) any {
	var details any
	if json.Unmarshal([]byte(text), &details) != nil {
		return text
	}
	return details
}
