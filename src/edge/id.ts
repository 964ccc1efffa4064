import { randomFillSync } from 'node:crypto'

/** Random bytes are fetched for many ids at once: one call of the system a hundred ids. */
const pool = Buffer.alloc(10 * 128)
let used = pool.length

/** UUIDv7 (RFC 9562): its order is the order of time, to the millisecond. */
export function newId(): string {
  if (used === pool.length) {
    randomFillSync(pool)
    used = 0
  }
  const random = pool.toString('hex', used, used + 10)
  used += 10
  const time = Date.now().toString(16).padStart(12, '0')
  const variant = (8 + (Number.parseInt(random.charAt(3), 16) & 3)).toString(16)
  return `${time.slice(0, 8)}-${time.slice(8)}-7${random.slice(0, 3)}-${variant}${random.slice(4, 7)}-${random.slice(7, 19)}`
}
