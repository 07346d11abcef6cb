package main

import (
	"fmt"
	"sync/atomic"
	"time"
)

const patience = 120 * time.Second

// unknownNumbers are told apart when the request does not say how many there are: 8 MiB of bits.
const unknownNumbers = 1 << 26

// receipts are what a listener got: they verify every message and count each number once. Damaged messages, duplicates and numbers that
// nobody sent are failures. They measure from the first message to the last; safe to use from several goroutines.
type receipts struct {
	bodies   bodies
	expected int
	numbers  int64
	seen     []uint64
	received atomic.Int64
	counted  atomic.Int64
	failed   atomic.Int64
	meter    atomic.Pointer[meter]
	done     chan struct{}
}

func receiptsFor(asked request) *receipts {
	r := &receipts{bodies: bodiesOf(asked.Size), expected: asked.Count, numbers: unknownNumbers, done: make(chan struct{})}
	if asked.Distinct > 0 {
		r.numbers = int64(asked.Distinct)
		if r.bodies.numbered() {
			r.expected = asked.Distinct
		}
	}
	if r.bodies.numbered() {
		r.seen = make([]uint64, (r.numbers+63)/64)
	}
	return r
}

func (r *receipts) accept(body []byte) {
	if r.received.Add(1) == 1 {
		r.meter.Store(begin())
	}
	intact := r.bodies.intact(body)
	fresh := r.seen == nil || r.isNew(numberOf(body))
	if !intact || !fresh {
		r.failed.Add(1)
	}
	if fresh && r.counted.Add(1) == int64(r.expected) {
		r.meter.Load().end()
		close(r.done)
	}
}

func (r *receipts) isNew(number int64) bool {
	if number < 0 || number >= r.numbers {
		return false
	}
	bit := uint64(1) << (number & 63)
	return atomic.OrUint64(&r.seen[number>>6], bit)&bit == 0
}

// await waits for the last message.
func (r *receipts) await() (answer, error) {
	select {
	case <-r.done:
		return r.meter.Load().answer(r.expected, int(r.failed.Load()), nil)
	case <-time.After(patience):
		return answer{}, fmt.Errorf("received %d of %d messages within %v, %d wrong", r.counted.Load(), r.expected, patience, r.failed.Load())
	}
}
