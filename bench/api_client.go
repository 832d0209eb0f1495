package main

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// accessKey is what parlor key create prints.
type accessKey struct {
	AccessKeyID     string `json:"AccessKeyId"`
	SecretAccessKey string
}

const apiRegion = "us-east-1"

// apiClient calls the API over one connection, signing each request as the AWS SDK
// for Go does (Signature Version 4; content-length, content-type, host and x-amz-date
// signed). It is as cheap as can be, because it shares the server's processors: no
// net/http, and the signing key is derived once a day.
type apiClient struct {
	key  accessKey
	host string
	conn net.Conn
	in   *bufio.Reader

	second int64  // what stamp is of
	stamp  string // x-amz-date
	scope  string
	mac    hash.Hash // under the signing key of the scope's day

	text, out, answer []byte // used again for each request
}

func dialAPI(host string, key accessKey) (*apiClient, error) {
	conn, err := net.Dial("tcp", host)
	if err != nil {
		return nil, err
	}
	return &apiClient{key: key, host: host, conn: conn, in: bufio.NewReaderSize(conn, 64<<10)}, nil
}

func (c *apiClient) close() { c.conn.Close() }

// call returns the body of a 200; anything else is an error. The body is good until
// the next call.
func (c *apiClient) call(path string, body []byte) ([]byte, error) {
	c.date(time.Now().UTC())
	c.out = fmt.Appendf(c.out[:0], "POST %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: parlor-bench\r\nContent-Type: application/json\r\n"+
		"Content-Length: %d\r\nX-Amz-Date: %s\r\nAuthorization: AWS4-HMAC-SHA256 Credential=%s/%s, "+
		"SignedHeaders=content-length;content-type;host;x-amz-date, Signature=", path, c.host, len(body), c.stamp, c.key.AccessKeyID, c.scope)
	c.out = hex.AppendEncode(c.out, c.sign(path, body))
	c.out = append(append(c.out, "\r\n\r\n"...), body...)
	if _, err := c.conn.Write(c.out); err != nil {
		return nil, err
	}
	status, answer, err := c.read()
	if err == nil && status != 200 {
		err = fmt.Errorf("%s: status %d: %s", path, status, answer)
	}
	return answer, err
}

func (c *apiClient) sign(path string, body []byte) []byte {
	sum := sha256.Sum256(body)
	c.text = fmt.Appendf(c.text[:0], "POST\n%s\n\ncontent-length:%d\ncontent-type:application/json\nhost:%s\nx-amz-date:%s\n\n"+
		"content-length;content-type;host;x-amz-date\n", path, len(body), c.host, c.stamp)
	sum = sha256.Sum256(hex.AppendEncode(c.text, sum[:]))
	c.text = append(append(append(c.text[:0], "AWS4-HMAC-SHA256\n"...), c.stamp...), '\n')
	c.text = append(append(c.text, c.scope...), '\n')
	c.mac.Reset()
	c.mac.Write(hex.AppendEncode(c.text, sum[:]))
	return c.mac.Sum(c.text[:0])
}

// date makes the parts of a signature that change with the time.
func (c *apiClient) date(now time.Time) {
	if now.Unix() == c.second {
		return
	}
	c.second, c.stamp = now.Unix(), now.Format("20060102T150405Z")
	day := c.stamp[:8]
	if strings.HasPrefix(c.scope, day) {
		return
	}
	key := []byte("AWS4" + c.key.SecretAccessKey)
	for _, part := range []string{day, apiRegion, "ivschat", "aws4_request"} {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(part))
		key = mac.Sum(nil)
	}
	c.scope, c.mac = day+"/"+apiRegion+"/ivschat/aws4_request", hmac.New(sha256.New, key)
}

// read reads an answer that has a Content-Length, as all of Parlor's have.
func (c *apiClient) read() (status int, body []byte, err error) {
	length := -1
	for first := true; ; first = false {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return 0, nil, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if first {
			if len(line) < len("HTTP/1.1 200") {
				return 0, nil, fmt.Errorf("not an answer: %q", line)
			}
			status, _ = strconv.Atoi(string(line[9:12]))
			continue
		}
		if len(line) == 0 {
			break
		}
		const name = "content-length:"
		if len(line) > len(name) && bytes.EqualFold(line[:len(name)], []byte(name)) {
			length, _ = strconv.Atoi(string(bytes.TrimSpace(line[len(name):])))
		}
	}
	if length < 0 {
		return 0, nil, fmt.Errorf("status %d without a length", status)
	}
	if cap(c.answer) < length {
		c.answer = make([]byte, 2*length)
	}
	c.answer = c.answer[:length]
	_, err = io.ReadFull(c.in, c.answer)
	return status, c.answer, err
}
