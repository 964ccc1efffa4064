/** Lines of a byte stream, in every chunking, each at most `limit` bytes; a longer one is a fault that ends the reading. */
export function createLineSplitter(limit: number): (chunk: Buffer) => Buffer[] | 'line_too_long' {
  let parts: Buffer[] = []
  let size = 0
  return (chunk) => {
    const lines: Buffer[] = []
    let start = 0
    for (let end = chunk.indexOf(0x0a); end >= 0; end = chunk.indexOf(0x0a, start)) {
      const piece = chunk.subarray(start, end)
      if (size + piece.length > limit) return 'line_too_long'
      const line = parts.length === 0 ? piece : Buffer.concat([...parts, piece])
      lines.push(line.at(-1) === 0x0d ? line.subarray(0, -1) : line)
      parts = []
      size = 0
      start = end + 1
    }
    const rest = chunk.subarray(start)
    if (rest.length > 0) {
      parts.push(Buffer.from(rest))
      size += rest.length
      if (size > limit) return 'line_too_long'
    }
    return lines
  }
}

/** A line for every reader: some take these two, which JSON may hold as they are, for line ends. */
export const oneLine = (text: string): string =>
  text.replaceAll('\u2028', '\\u2028').replaceAll('\u2029', '\\u2029')
