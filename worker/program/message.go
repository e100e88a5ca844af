package program

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/limpet-rpc/limpet/internal/codec"
	"github.com/limpet-rpc/limpet/internal/jsontext"
	"github.com/limpet-rpc/limpet/worker"
)

// message is one line of a child: an answer, a notification or a request.
type message struct {
	Version string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id"`
	Method  *string         `json:"method"`
	Params  json.RawMessage `json:"params"`
	Result  json.RawMessage `json:"result"`
	Error   *methodError    `json:"error"`
}

// methodError is JSON-RPC's error object: the method's own error.
type methodError struct {
	Code    int64           `json:"code"`
	Message string          `json:"message"`
	Data    json.RawMessage `json:"data"`
}

// dataMost bounds how much of an error's data its text carries.
const dataMost = 2 << 10

// Error is message, code and data.
func (e *methodError) Error() string {
	text := fmt.Sprintf("%s (code %d)", e.Message, e.Code)
	if len(e.Data) > 0 && !isNull(e.Data) {
		text += ", data " + clip(e.Data, dataMost)
	}
	return text
}

// clip is the beginning of what a child said, as text.
func clip(b []byte, most int) string {
	if len(b) > most {
		return string(bytes.ToValidUTF8(b[:most], []byte("?"))) + "..."
	}
	return string(bytes.ToValidUTF8(b, []byte("?")))
}

func isNull(raw json.RawMessage) bool { return string(raw) == "null" }

// parse reads a line. Its errors say what rule the line breaks.
func parse(line []byte) (*message, error) {
	if text := bytes.TrimLeft(line, " \t\r"); len(text) > 0 && text[0] == '[' {
		return nil, errors.New("is a batch, want one message a line")
	}
	m := new(message)
	if err := json.Unmarshal(line, m); err != nil {
		return nil, fmt.Errorf("is no JSON-RPC message: %w", err)
	}
	switch {
	case m.Version != "2.0":
		return nil, errors.New(`lacks "jsonrpc":"2.0"`)
	case m.Method == nil && len(m.ID) == 0:
		return nil, errors.New("has neither a method nor an id")
	case m.Method == nil && (m.Error == nil) == (len(m.Result) == 0):
		return nil, errors.New("answers with not exactly one of result and error")
	}
	return m, nil
}

// Requests and notifications, and the answer to a request of the child's.
const (
	cancelMethod   = "$/cancelRequest"
	progressMethod = "progress"
	methodNotFound = `-32601,"message":"Method not found"`
)

// request is the line that asks for a method. An id of zero makes it a
// notification. A traceparent that is not empty goes along.
func request(id uint64, method string, params []byte, traceparent string) []byte {
	line := append(make([]byte, 0, len(params)+len(method)+64), `{"jsonrpc":"2.0",`...)
	if id != 0 {
		line = append(strconv.AppendUint(append(line, `"id":`...), id, 10), ',')
	}
	line = jsontext.Quote(append(line, `"method":`...), method)
	if len(params) > 0 {
		line = append(append(line, `,"params":`...), params...)
	}
	if traceparent != "" {
		line = jsontext.Quote(append(line, `,"traceparent":`...), traceparent)
	}
	return append(line, '}', '\n')
}

// refusal is the line that answers a child's own request.
func refusal(id json.RawMessage) []byte {
	return []byte(`{"jsonrpc":"2.0","id":` + string(id) + `,"error":{"code":` + methodNotFound + "}}\n")
}

// paramsOf makes an argument a request's params.
func paramsOf(arg worker.Body) ([]byte, error) {
	if arg.Raw {
		return append(jsontext.AppendBytes([]byte{'['}, arg.Bytes), ']'), nil
	}
	var whole codec.Body
	if err := codec.Decode(arg.Bytes, false, &whole); err != nil {
		return nil, err
	}
	switch form, _, _, err := codec.Peek(arg.Bytes); form {
	case codec.FormNil:
		return nil, err
	case codec.FormList, codec.FormMap:
		return jsontext.Append(nil, arg.Bytes)
	default:
		text, err := jsontext.Append([]byte{'['}, arg.Bytes)
		return append(text, ']'), err
	}
}

// progressOf is the value of a notification.
func progressOf(m *message) ([]byte, error) {
	params := m.Params
	if len(params) == 0 {
		params = []byte("null")
	}
	if *m.Method == progressMethod {
		return jsontext.AppendPacked(nil, params)
	}
	text := jsontext.Quote([]byte(`{"method":`), *m.Method)
	text = append(append(text, `,"params":`...), params...)
	return jsontext.AppendPacked(nil, append(text, '}'))
}
