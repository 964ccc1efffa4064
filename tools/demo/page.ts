// Text for a terminal: 96 columns, colours only where they are wanted.
import { styleText } from 'node:util'

const WIDTH = 96
type Style = Parameters<typeof styleText>[0]

/** Plain where stdout is no terminal or NO_COLOR is set: `styleText` looks. */
export const paint = (style: Style, text: string): string =>
  styleText(style, text, { stream: process.stdout })

export const say = (text = ''): void => void process.stdout.write(`${text}\n`)

/** Broken at blanks, each line after `indent`. */
export const wrap = (text: string, indent: string): string =>
  text
    .split('\n')
    .flatMap((line) => {
      const lines = ['']
      for (const word of line.split(' ')) {
        const last = lines.at(-1)!
        if (last !== '' && `${indent}${last} ${word}`.length > WIDTH) lines.push(word)
        else lines[lines.length - 1] = last === '' ? word : `${last} ${word}`
      }
      return lines
    })
    .map((line) => indent + line)
    .join('\n')
