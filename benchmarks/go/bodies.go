package main

import (
	"bytes"
	"encoding/binary"
	"slices"
)

const stamp = 8

// bodies of one size: the message's number as eight bytes, big-endian, then only 'x'; bodies below eight bytes have no number.
type bodies struct {
	pattern []byte
}

func bodiesOf(size int) bodies {
	return bodies{bytes.Repeat([]byte{'x'}, size)}
}

func (b bodies) numbered() bool {
	return len(b.pattern) >= stamp
}

func (b bodies) make(number int64) []byte {
	body := slices.Clone(b.pattern)
	if b.numbered() {
		binary.BigEndian.PutUint64(body, uint64(number))
	}
	return body
}

// numberOf answers the number in a body, -1 where none fits in.
func numberOf(body []byte) int64 {
	if len(body) < stamp {
		return -1
	}
	return int64(binary.BigEndian.Uint64(body))
}

// intact says whether a body has the size and content that it was sent with, whatever its number.
func (b bodies) intact(body []byte) bool {
	if len(body) != len(b.pattern) {
		return false
	}
	if b.numbered() {
		return bytes.Equal(body[stamp:], b.pattern[stamp:])
	}
	return bytes.Equal(body, b.pattern)
}
