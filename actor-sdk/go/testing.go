package lattice

import (
	"encoding/json"
	"log/slog"
	"time"
)

// A Mesh is what a unit test surrounds an actor with: other actors, and a record of what they were asked. Messages pass through
// the same encoding as in a lattice. Nodes, retries, deadlines and grants are left out.
//
//	mesh := lattice.NewMesh().Actor("till", lattice.Default)
//	mesh.Answer("pricing", "price", func(args lattice.Args) (any, error) { return 250, nil })
//	total, err := lattice.Call[int](mesh.Context(), "till", "total", lattice.Args{"sku": "tea", "quantity": 2})
type Mesh struct {
	// All calls so far, and the lines that were logged.
	Calls  []Recorded
	Logged []string
	actors map[string]*Actor
	stubs  map[[2]string]func(Args) (any, error)
}

// Recorded is a call that was made.
type Recorded struct {
	To, Operation string
	Args          Args
}

// NewMesh has no actors yet.
func NewMesh() *Mesh {
	return &Mesh{actors: map[string]*Actor{}, stubs: map[[2]string]func(Args) (any, error){}}
}

// Actor adds an actor.
func (m *Mesh) Actor(id string, actor *Actor) *Mesh {
	m.actors[id] = actor
	return m
}

// Answer answers an operation with a function of its arguments.
func (m *Mesh) Answer(id, operation string, answer func(Args) (any, error)) *Mesh {
	m.stubs[[2]string{id, operation}] = answer
	return m
}

// Context is a turn in this mesh, to be handed to an operation or to call actors by.
func (m *Mesh) Context() *Context {
	return newContext(&place{m, "under-test"}, Message{ID: "test-message", Remaining: 30 * time.Second, Attempt: 1})
}

// place is the mesh as one of its actors sees it.
type place struct {
	mesh *Mesh
	id   string
}

func (p *place) selfID() string { return p.id }

func (p *place) log(_ slog.Level, _, text string) { p.mesh.Logged = append(p.mesh.Logged, text) }

func (p *place) call(to, operation string, payload []byte, _ time.Duration) ([]byte, error) {
	var args Args
	if err := json.Unmarshal(payload, &args); err != nil {
		return nil, &CallError{Kind: "malformed", Text: err.Error()}
	}
	p.mesh.Calls = append(p.mesh.Calls, Recorded{to, operation, args})
	if stub := p.mesh.stubs[[2]string{to, operation}]; stub != nil {
		reply, err := stub(args)
		if err != nil {
			return nil, asFailure(err)
		}
		return json.Marshal(reply)
	}
	actor := p.mesh.actors[to]
	if actor == nil {
		return nil, &CallError{Kind: "no-such-actor", Text: to}
	}
	message := Message{
		ID: "test-message", Operation: operation, Payload: payload, ContentType: "application/json",
		Caller: p.id, Remaining: 30 * time.Second, Attempt: 1,
	}
	return actor.answer(newContext(&place{p.mesh, to}, message))
}
