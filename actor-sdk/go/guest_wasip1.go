//go:build wasip1

package lattice

import (
	"log/slog"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
	"unsafe"
)

// This file joins an actor to the lattice: the world `blocking-actor`, by the rules of the component model's canonical ABI. A
// string or list is an address and a length, an option or variant is a number and what it may hold, and what does not fit into
// a result is in memory at an address.

// Main is all that the function main of an actor does. In a lattice it is never called.
func Main() {}

//go:wasmimport lattice:actor/blocking-mesh@0.1.0 call
func importCall(to, operation string, payload unsafe.Pointer, payloadLength uint32, contentType string, hasTimeout uint32, timeout uint64, result unsafe.Pointer)

//go:wasmimport lattice:actor/blocking-mesh@0.1.0 self-id
func importSelfID(result unsafe.Pointer)

//go:wasmimport lattice:actor/log@0.1.0 log
func importLog(level uint32, target, message string)

// held keeps what the host had allocated from being collected, by its address, until somebody takes it.
var held = map[uint32][]byte{}

func address(bytes []byte) uint32 { return uint32(uintptr(unsafe.Pointer(unsafe.SliceData(bytes)))) }

//go:wasmexport cabi_realloc
func realloc(old, oldSize, align, size uint32) uint32 {
	// What Go allocates is aligned to 8 from 8 bytes on, and nothing here wants more.
	fresh := make([]byte, max(size, 8))
	copy(fresh, held[old])
	delete(held, old)
	held[address(fresh)] = fresh
	return address(fresh)
}

// take gives what the host has written into memory that it had allocated.
func take(address, length uint32) []byte {
	bytes := held[address]
	delete(held, address)
	return bytes[:min(length, uint32(len(bytes)))]
}

func takeString(address, length uint32) string { return string(take(address, length)) }

// garbage is so much as may be left behind before it is collected, in bytes.
const garbage = 8 << 20

// While the host has memory allocated, the instance may call nothing, and the collector looks at the clock. So it runs at the
// end of a turn, and before a call, and at no other time.
func init() { debug.SetGCPercent(-1) }

var allocated = []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}

// collected is how much had been allocated when the collector ran last.
var collected uint64

func collect() {
	metrics.Read(allocated)
	if now := allocated[0].Value.Uint64(); now-collected > garbage {
		runtime.GC()
		collected = now
	}
}

// area is `result<list<u8>, failure>` in memory: 48 bytes, aligned to 8.
type area struct {
	isError uint8
	_       [7]byte
	// The reply's address and length, or first the case of the failure.
	a, b uint32
	// What the case holds: a text, or a number, or a rejection, or two numbers of 8 bytes each and another.
	c [8]uint32
}

// The cases of a failure, in the order of the WIT.
var kinds = [...]string{
	"no-such-actor", "no-such-operation", "no-replica", "overloaded", "not-here", "deadline", "unknown", "deadlock", "denied",
	"trapped", "rejected", "cancelled", "too-large", "malformed",
}

var rans = [...]string{"no", "maybe", "yes"}

type lattice struct{}

func (lattice) selfID() string {
	var result [2]uint32
	importSelfID(unsafe.Pointer(&result))
	return takeString(result[0], result[1])
}

func (lattice) log(level slog.Level, target, text string) {
	var number uint32
	switch {
	case level >= slog.LevelError:
		number = 4
	case level >= slog.LevelWarn:
		number = 3
	case level >= slog.LevelInfo:
		number = 2
	case level >= slog.LevelDebug:
		number = 1
	}
	importLog(number, target, text)
}

func (lattice) call(to, operation string, payload []byte, timeout time.Duration) ([]byte, error) {
	var hasTimeout uint32
	if timeout > 0 {
		hasTimeout = 1
	}
	collect()
	result := new(area)
	importCall(to, operation, unsafe.Pointer(unsafe.SliceData(payload)), uint32(len(payload)), "application/json", hasTimeout, uint64(timeout.Milliseconds()), unsafe.Pointer(result))
	runtime.KeepAlive(payload)
	if result.isError == 0 {
		return take(result.a, result.b), nil
	}
	return nil, result.failure()
}

func (r *area) failure() error {
	kind := kinds[uint8(r.a)]
	switch kind {
	case "deadline", "cancelled":
		return &CallError{Kind: kind, ran: rans[uint8(r.c[0])]}
	case "too-large":
		long := func(low, high uint32) uint64 { return uint64(low) | uint64(high)<<32 }
		limit, size := long(r.c[0], r.c[1]), long(r.c[2], r.c[3])
		return &CallError{Kind: kind, Limit: limit, Size: size, ran: rans[uint8(r.c[4])]}
	case "rejected":
		rejection := &Rejection{Code: takeString(r.c[0], r.c[1]), Message: takeString(r.c[2], r.c[3])}
		if uint8(r.c[4]) != 0 {
			rejection.Details = readDetails(takeString(r.c[5], r.c[6]))
		}
		return rejection
	}
	return &CallError{Kind: kind, Text: takeString(r.c[0], r.c[1])}
}

// give hands bytes to the host, which reads them before the next message.
func give(bytes []byte) (uint32, uint32) {
	given = append(given, bytes)
	return address(bytes), uint32(len(bytes))
}

// given is what the host was handed with the last reply.
var given [][]byte

func (r *area) fail(err error) {
	r.isError = 1
	switch err := err.(type) {
	case *Rejection:
		r.a = number(kinds[:], "rejected")
		r.c[0], r.c[1] = give([]byte(err.Code))
		r.c[2], r.c[3] = give([]byte(err.Message))
		if details, there := err.details(); there {
			r.c[4] = 1
			r.c[5], r.c[6] = give([]byte(details))
		}
	case *CallError:
		r.a = number(kinds[:], err.Kind)
		switch err.Kind {
		case "deadline", "cancelled":
			r.c[0] = number(rans[:], err.Ran())
		case "too-large":
			r.c[0], r.c[1] = uint32(err.Limit), uint32(err.Limit>>32)
			r.c[2], r.c[3] = uint32(err.Size), uint32(err.Size>>32)
			r.c[4] = number(rans[:], err.Ran())
		default:
			r.c[0], r.c[1] = give([]byte(err.Text))
		}
	}
}

// number is the place of a word; the first one for a word that the WIT does not have.
func number(words []string, wanted string) uint32 {
	for at, word := range words {
		if word == wanted {
			return uint32(at)
		}
	}
	return 0
}

// reply is used again for each message: the host has read it when the next one comes.
var reply area

//go:wasmexport lattice:actor/blocking-handler@0.1.0#handle
func handle(
	id, idLength, operation, operationLength, payload, payloadLength, contentType, contentTypeLength uint32,
	hasCaller, caller, callerLength uint32,
	remaining uint64,
	hasTraceparent, traceparent, traceparentLength uint32,
	attempt uint32,
) unsafe.Pointer {
	given = given[:0]
	reply = area{}
	message := Message{
		ID:          takeString(id, idLength),
		Operation:   takeString(operation, operationLength),
		Payload:     take(payload, payloadLength),
		ContentType: takeString(contentType, contentTypeLength),
		Remaining:   time.Duration(remaining) * time.Millisecond,
		Attempt:     attempt,
	}
	if hasCaller != 0 {
		message.Caller = takeString(caller, callerLength)
	}
	if hasTraceparent != 0 {
		message.Traceparent = takeString(traceparent, traceparentLength)
	}
	bytes, err := Default.answer(newContext(lattice{}, message))
	collect()
	if err != nil {
		reply.fail(err)
	} else {
		reply.a, reply.b = give(bytes)
	}
	return unsafe.Pointer(&reply)
}
