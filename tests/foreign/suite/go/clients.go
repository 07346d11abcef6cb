package main

import (
	"context"
	"fmt"
	"sort"
	"sync"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

const patience = 60 * time.Second

var (
	nameServers, guarded, suffix string

	first = consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset)
)

func topic(scenario string) string { return "foreign_" + scenario + "_" + suffix }

func group(scenario string) string { return "foreign_group_" + scenario + "_" + suffix }

func newProducer(scenario string, options ...producer.Option) (rocketmq.Producer, error) {
	base := []producer.Option{
		producer.WithGroupName("foreign_producer_" + scenario + "_" + suffix),
		producer.WithInstanceName("producer-" + scenario + suffix),
		producer.WithNameServer([]string{nameServers}),
		producer.WithSendMsgTimeout(20 * time.Second),
	}
	made, err := rocketmq.NewProducer(append(base, options...)...)
	if err != nil {
		return nil, err
	}
	if err := made.Start(); err != nil {
		return nil, err
	}
	return made, nil
}

// What messages come to.
type inbox struct {
	lock     sync.Mutex
	messages []*primitive.MessageExt
}

func (box *inbox) take(messages ...*primitive.MessageExt) {
	box.lock.Lock()
	defer box.lock.Unlock()
	box.messages = append(box.messages, messages...)
}

// Exactly these, in any order.
func (box *inbox) expect(bodies ...string) ([]*primitive.MessageExt, error) {
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		box.lock.Lock()
		messages := append([]*primitive.MessageExt{}, box.messages...)
		box.lock.Unlock()
		if len(messages) >= len(bodies) || time.Now().After(end) {
			found := []string{}
			for _, message := range messages {
				found = append(found, string(message.Body))
			}
			wanted := append([]string{}, bodies...)
			sort.Strings(found)
			sort.Strings(wanted)
			if fmt.Sprint(found) != fmt.Sprint(wanted) {
				return nil, fmt.Errorf("expected %v, got %v", wanted, found)
			}
			return messages, nil
		}
	}
}

type listener = func(context.Context, ...*primitive.MessageExt) (consumer.ConsumeResult, error)

func begin(scenario, name string, selector consumer.MessageSelector, listen listener, options ...consumer.Option) error {
	base := []consumer.Option{
		consumer.WithGroupName(group(scenario)),
		consumer.WithInstance("consumer-" + name + suffix),
		consumer.WithNameServer([]string{nameServers}),
		first,
	}
	made, err := rocketmq.NewPushConsumer(append(base, options...)...)
	if err != nil {
		return err
	}
	if err := made.Subscribe(topic(scenario), selector, listen); err != nil {
		return err
	}
	if err := made.Start(); err != nil {
		return err
	}
	return nil
}

func (box *inbox) listen(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
	box.take(messages...)
	return consumer.ConsumeSuccess, nil
}

// A consumer of everything in the topic of a scenario.
func consume(scenario string, options ...consumer.Option) (*inbox, error) {
	box := &inbox{}
	return box, begin(scenario, scenario, consumer.MessageSelector{}, box.listen, options...)
}

func numbered(count int) (bodies []string) {
	for number := 0; number < count; number++ {
		bodies = append(bodies, fmt.Sprintf("m%d", number))
	}
	return bodies
}

func message(scenario, body string) *primitive.Message {
	return primitive.NewMessage(topic(scenario), []byte(body))
}

func stored(result *primitive.SendResult, err error) error {
	if err == nil && result.Status != primitive.SendOK {
		err = fmt.Errorf("not stored: %v", result)
	}
	return err
}

// Numbered messages, sent one after the other.
func send(scenario string, count int, change func(int, *primitive.Message)) error {
	made, err := newProducer(scenario, producer.WithQueueSelector(producer.NewHashQueueSelector()))
	if err != nil {
		return err
	}
	for number, body := range numbered(count) {
		next := message(scenario, body)
		if change != nil {
			change(number, next)
		}
		if err := stored(made.SendSync(context.Background(), next)); err != nil {
			return err
		}
	}
	return nil
}
