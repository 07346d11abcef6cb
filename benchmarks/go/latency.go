package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/primitive"
)

const warmUp = 100

// latencyRound is the messages of one round. Their numbers begin at the clock's time, so that messages of earlier rounds in the topic are
// known as such.
type latencyRound struct {
	asked      request
	bodies     bodies
	first      int64
	sent       []time.Time
	arrived    []time.Time
	deliveries []atomic.Int32
	damaged    atomic.Int32
	warmLeft   atomic.Int64
	left       atomic.Int64
	warm       chan struct{}
	done       chan struct{}
}

// latency of messages at a steady rate, from the call of SendSync to the listener of a consumer in the same process.
func latency(c *clients, asked request) (answer, error) {
	if asked.Size < stamp {
		return answer{}, fmt.Errorf("latency needs bodies of %d bytes or more, not %d", stamp, asked.Size)
	}
	producer, err := c.producer()
	if err != nil {
		return answer{}, err
	}
	round := newLatencyRound(asked)
	consumer, err := c.consumer(asked.Group, asked.Topic, asked.Ordered, func(message *primitive.MessageExt) { round.accept(message.Body) })
	if err != nil {
		return answer{}, err
	}
	if err := consumer.Start(); err != nil {
		return answer{}, err
	}
	defer stop(consumer)
	if err := round.send(producer, 0, warmUp, round.warm); err != nil {
		return answer{}, fmt.Errorf("warm-up: %w", err)
	}
	m := begin()
	if err := round.send(producer, warmUp, warmUp+asked.Count, round.done); err != nil {
		return answer{}, err
	}
	return m.end().answer(asked.Count, round.failed(), round.latencies())
}

func newLatencyRound(asked request) *latencyRound {
	total := warmUp + asked.Count
	round := &latencyRound{
		asked:      asked,
		bodies:     bodiesOf(asked.Size),
		first:      time.Now().UnixMilli() << 20,
		sent:       make([]time.Time, total),
		arrived:    make([]time.Time, total),
		deliveries: make([]atomic.Int32, total),
		warm:       make(chan struct{}),
		done:       make(chan struct{}),
	}
	round.warmLeft.Store(warmUp)
	round.left.Store(int64(asked.Count))
	return round
}

// send sends the messages and waits until the listener has them all. Each has its time in the schedule; one that is late does not move
// the others.
func (r *latencyRound) send(producer rocketmq.Producer, from, to int, all <-chan struct{}) error {
	began := time.Now()
	for number := from; number < to; number++ {
		due := began.Add(time.Duration(number-from) * time.Second / time.Duration(r.asked.Rate))
		time.Sleep(time.Until(due))
		message := primitive.NewMessage(r.asked.Topic, r.bodies.make(r.first+int64(number)))
		r.sent[number] = time.Now()
		if _, err := producer.SendSync(context.Background(), message); err != nil {
			return err
		}
	}
	select {
	case <-all:
		return nil
	case <-time.After(patience):
		return fmt.Errorf("%d warm-up and %d measured messages did not arrive within %v", r.warmLeft.Load(), r.left.Load(), patience)
	}
}

func (r *latencyRound) accept(body []byte) {
	now := time.Now()
	number := numberOf(body) - r.first
	if number < 0 || number >= int64(len(r.sent)) {
		return
	}
	if !r.bodies.intact(body) {
		r.damaged.Add(1)
	}
	if r.deliveries[number].Add(1) > 1 {
		return
	}
	r.arrived[number] = now
	if number < warmUp {
		if r.warmLeft.Add(-1) == 0 {
			close(r.warm)
		}
	} else if r.left.Add(-1) == 0 {
		close(r.done)
	}
}

// failed counts duplicates and damaged messages.
func (r *latencyRound) failed() int {
	failed := int(r.damaged.Load())
	for number := range r.deliveries {
		failed += max(int(r.deliveries[number].Load())-1, 0)
	}
	return failed
}

func (r *latencyRound) latencies() []time.Duration {
	values := make([]time.Duration, r.asked.Count)
	for number := range values {
		values[number] = r.arrived[warmUp+number].Sub(r.sent[warmUp+number])
	}
	return values
}
