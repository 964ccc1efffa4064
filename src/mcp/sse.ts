/** Server-sent events, read by the WHATWG rules (HTML, 9.2 "Server-sent events") in every chunking, and written anew. */

/** `data` is empty where an event only moves the id on or sets the wait before a reconnection (`retry`, milliseconds). */
export type Frame = { event: string; data: string; id?: string; retry?: number }

/** Frames out of text chunks. `push` returns the frames that ended in this chunk, or a fault that ends the stream. */
export function createFrameReader(limit: number) {
  // The line that has not ended, in the pieces that it came in: each is looked at once.
  let rest: string[] = []
  let event = ''
  let data: string[] = []
  let id: string | undefined
  let retry: number | undefined
  let size = 0
  let first = true
  let skipLf = false

  const line = (text: string, out: Frame[]) => {
    if (text === '') {
      if (data.length > 0 || id !== undefined || retry !== undefined) {
        const frame: Frame = { event: event || 'message', data: data.join('\n') }
        if (id !== undefined) frame.id = id
        if (retry !== undefined) frame.retry = retry
        out.push(frame)
      }
      event = ''
      data = []
      id = undefined
      retry = undefined
      size = 0
      return
    }
    const colon = text.indexOf(':')
    const field = colon < 0 ? text : text.slice(0, colon)
    const value = colon < 0 ? '' : text.slice(colon + (text[colon + 1] === ' ' ? 2 : 1))
    if (field === 'data') data.push(value)
    else if (field === 'event') event = value
    else if (field === 'id' && !value.includes('\0')) id = value
    else if (field === 'retry' && /^\d{1,9}$/.test(value)) retry = Number(value)
  }

  return {
    push(chunk: string): { ok: true; frames: Frame[] } | { ok: false; fault: 'frame_too_large' } {
      const frames: Frame[] = []
      let text = chunk
      if (first && text.length > 0) {
        first = false
        if (text.charCodeAt(0) === 0xfeff) text = text.slice(1)
      }
      let start = 0
      for (let i = 0; i < text.length; i++) {
        const c = text.charCodeAt(i)
        if (c === 0x0a && skipLf) {
          skipLf = false
          start = i + 1
          continue
        }
        skipLf = false
        if (c !== 0x0a && c !== 0x0d) continue
        size += i - start
        if (size > limit) return { ok: false, fault: 'frame_too_large' }
        rest.push(text.slice(start, i))
        line(rest.join(''), frames)
        rest = []
        start = i + 1
        skipLf = c === 0x0d
      }
      if (start < text.length) rest.push(text.slice(start))
      size += text.length - start
      if (size > limit) return { ok: false, fault: 'frame_too_large' }
      return { ok: true, frames }
    },
  }
}

/**
 * One message as one frame; an empty `text` is an event without one. `text` is JSON as JSON.stringify writes it and `id`
 * is visible ASCII, so neither holds a line break.
 */
export function writeFrame(text: string, id?: string, retry?: number): string {
  const lines = text === '' ? [] : ['event: message']
  if (id !== undefined) lines.push(`id: ${id}`)
  if (retry !== undefined) lines.push(`retry: ${retry}`)
  return `${lines.join('\n')}\ndata: ${text}\n\n`
}
