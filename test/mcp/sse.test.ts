import { describe, expect, test } from 'vitest'
import { createFrameReader, type Frame, writeFrame } from '../../src/mcp/sse.ts'
import { createRandom } from './random.ts'

/** The stream as a whole, by the letter of HTML 9.2.6 "Interpreting an event stream". */
function reference(text: string): Frame[] {
  const frames: Frame[] = []
  const whole = text.replace(/^\ufeff/, '')
  // Only lines that ended count: what follows the last line end is dropped with the unfinished event.
  const lines = whole.split(/\r\n|\n|\r/).slice(0, -1)
  let data = ''
  let event = ''
  let mark: { id?: string; retry?: number } = {}
  for (const line of lines) {
    if (line === '') {
      if (data !== '' || Object.keys(mark).length > 0)
        frames.push({ event: event === '' ? 'message' : event, data: data.slice(0, -1), ...mark })
      data = ''
      event = ''
      mark = {}
      continue
    }
    if (line.startsWith(':')) continue
    const [, field, value] = /^([^:]*)(?::\u0020?(.*))?$/s.exec(line)!
    if (field === 'data') data += `${value ?? ''}\n`
    if (field === 'event') event = value ?? ''
    if (field === 'id' && !value?.includes('\0')) mark.id = value ?? ''
    if (field === 'retry' && /^[0-9]{1,9}$/.test(value ?? '')) mark.retry = Number(value)
  }
  return frames
}

function readAll(chunks: string[], limit = 1 << 20): Frame[] | string {
  const reader = createFrameReader(limit)
  const frames: Frame[] = []
  for (const chunk of chunks) {
    const read = reader.push(chunk)
    if (!read.ok) return read.fault
    frames.push(...read.frames)
  }
  return frames
}

const CORPUS: [name: string, text: string, data: string[]][] = [
  ['LF', 'data: {"a":1}\n\n', ['{"a":1}']],
  ['CRLF', 'data: {"a":1}\r\n\r\n', ['{"a":1}']],
  ['CR', 'data: {"a":1}\r\r', ['{"a":1}']],
  ['CR, then LF', 'data: a\r\n\ndata: b\n\r\n', ['a', 'b']],
  ['LF, then CR', 'data: a\n\rdata: b\r\n\r', ['a', 'b']],
  ['each end in one event', 'data: a\ndata: b\rdata: c\r\n\n', ['a\nb\nc']],
  ['F3 one message in two data lines', 'data: {"a":\ndata: 1}\n\n', ['{"a":\n1}']],
  ['F3 two messages in one event', 'data: {}\ndata: {}\n\n', ['{}\n{}']],
  ['two events', 'data: a\n\ndata: b\n\n', ['a', 'b']],
  ['event, id and retry', 'event: message\nid: 7\nretry: 10\ndata: a\n\n', ['a']],
  ['comments', ': hi\n:\ndata: a\n: between\ndata: b\n\n:\n\n', ['a\nb']],
  ['an id without data', 'id: 7\n\ndata: a\n\n', ['', 'a']],
  ['an id, a wait and empty data', 'id: 7\nretry: 500\ndata: \n\n', ['']],
  ['the last of two ids', 'id: 7\nid: 8\ndata: a\n\n', ['a']],
  ['waits that are none', 'retry: 1s\nretry: -1\nretry:\nretry: 99999999999\n\ndata: a\n\n', ['a']],
  ['no blank after the colon', 'data:a\n\n', ['a']],
  ['two blanks after the colon', 'data:  a\n\n', [' a']],
  ['a tab after the colon', 'data:\ta\n\n', ['\ta']],
  ['colons in the value', 'data: a:b: c\n\n', ['a:b: c']],
  ['no colon', 'data\n\n', ['']],
  ['two data lines without a colon', 'data\ndata\n\n', ['\n']],
  ['an empty value', 'data:\n\n', ['']],
  ['F3 field names are exact', 'Data: a\nDATA: b\n data: c\ndata : d\n\n', []],
  ['other fields', 'foo: bar\nfoo\n\ndata: a\n\n', ['a']],
  ['no data', 'event: ping\n\ndata: a\n\n', ['a']],
  ['F14 no blank line at the end', 'data: a\n\ndata: b\n', ['a']],
  ['F14 cut within a line', 'data: a\n\ndata: {"b"', ['a']],
  ['byte order mark', '\ufeffdata: a\n\n', ['a']],
  ['two byte order marks', '\ufeff\ufeffdata: a\n\ndata: b\n\n', ['b']],
  ['byte order mark later', 'data: a\n\n\ufeffdata: b\n\n', ['a']],
  ['byte order mark in the value', 'data: \ufeffa\n\n', ['\ufeffa']],
  ['blank lines only', '\n\r\n\r\n', []],
  ['nothing', '', []],
  ['NUL', 'data: a\u0000b\nid: \u0000\n\n', ['a\u0000b']],
  ['other line ends of Unicode are none', 'data: a\u2028b\u0085c\u000bd\n\n', ['a\u2028b\u0085c\u000bd']],
  ['many bytes a character', 'data: 日本😀\n\n', ['日本😀']],
]

describe('trap 10: F3 frames are the same however the stream is cut', () => {
  test.each(CORPUS)('%s', (_name, text, data) => {
    const expected = reference(text)
    expect(expected.map((frame) => frame.data)).toEqual(data)
    expect(readAll([text])).toEqual(expected)
    expect(readAll([...text])).toEqual(expected)
    for (let i = 0; i <= text.length; i++) {
      expect(readAll([text.slice(0, i), text.slice(i)]), `cut at ${i}`).toEqual(expected)
      for (let j = i; j <= text.length; j++) {
        expect(readAll([text.slice(0, i), text.slice(i, j), text.slice(j)]), `cut at ${i}, ${j}`).toEqual(
          expected,
        )
      }
    }
  })

  test('random streams, randomly cut', () => {
    const random = createRandom(21)
    const PIECES = [
      'data',
      'event',
      ':',
      ' ',
      '\n',
      '\r',
      '\r\n',
      '\n\n',
      'data: x',
      'data:{"a":1}',
      ': c',
      'id: 1',
      '\ufeff',
      'é',
      'event: other',
    ]
    for (let i = 0; i < 5_000; i++) {
      const text = Array.from({ length: random.below(20) }, () => random.pick(PIECES)).join('')
      const chunks: string[] = []
      for (let at = 0; at < text.length; ) {
        const size = random.below(6)
        chunks.push(text.slice(at, at + size))
        at += size
      }
      expect(readAll(chunks), JSON.stringify(chunks)).toEqual(reference(text))
    }
  })

  test('names of events', () => {
    const names = (text: string) => (readAll([text]) as Frame[]).map((frame) => frame.event)
    expect(names('data: a\n\n')).toEqual(['message'])
    expect(names('event: other\ndata: a\n\n')).toEqual(['other'])
    expect(names('event: other\n\ndata: a\n\n')).toEqual(['message'])
    expect(names('event: a\nevent: b\ndata: a\n\n')).toEqual(['b'])
    expect(names('event: a\nevent\ndata: a\n\n')).toEqual(['message'])
  })
})

describe('F6 a frame is bounded, a stream is not', () => {
  test('a line without an end', () => {
    expect(readAll(['data: ', 'x'.repeat(100)], 50)).toBe('frame_too_large')
    expect(
      readAll(
        Array.from({ length: 100 }, () => 'x'),
        50,
      ),
    ).toBe('frame_too_large')
  })
  test('many short lines without a blank one', () =>
    expect(
      readAll(
        Array.from({ length: 100 }, () => 'data: x\n'),
        50,
      ),
    ).toBe('frame_too_large'))
  test('many comments without a blank line', () =>
    expect(
      readAll(
        Array.from({ length: 100 }, () => ': x\n'),
        50,
      ),
    ).toBe('frame_too_large'))
  test('a frame of the limit', () => {
    expect(readAll([`data: ${'x'.repeat(44)}\n\n`], 50)).toHaveLength(1)
    expect(readAll([`data: ${'x'.repeat(45)}\n\n`], 50)).toBe('frame_too_large')
  })
  test('any number of frames', () =>
    expect(
      readAll(
        Array.from({ length: 1_000 }, () => 'data: 0123456789\n\n'),
        50,
      ),
    ).toHaveLength(1_000))
  test('what came before the fault is not repeated', () => {
    const reader = createFrameReader(50)
    expect(reader.push('data: a\n\n')).toMatchObject({ ok: true, frames: [{ data: 'a' }] })
    expect(reader.push('data: b\n')).toEqual({ ok: true, frames: [] })
    expect(reader.push('x'.repeat(60))).toMatchObject({ ok: false })
  })
  test('a long frame in small pieces costs what it is long', () => {
    const pieces = (size: number) => Array.from({ length: (4 << 20) / size }, () => 'x'.repeat(size))
    const began = performance.now()
    expect(readAll(['data: ', ...pieces(16), '\n\n'], 8 << 20)).toHaveLength(1)
    // 260,000 pieces: were all of the frame looked at for each, this would be 500 GB.
    expect(performance.now() - began).toBeLessThan(3_000)
  })
})

describe('F5 what is written is one frame', () => {
  test('it reads back, whatever the text says', () => {
    for (const text of ['{}', '{"a":"\\n\\nevent: x\\ndata: y"}', '{"a":"\u2028"}', '{"data":": \\r"}']) {
      expect(readAll([writeFrame(text)])).toEqual([{ event: 'message', data: text }])
      expect(readAll([writeFrame(text), writeFrame(text)])).toHaveLength(2)
    }
  })
})
