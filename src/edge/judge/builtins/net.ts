import { type Builtin, isArray, members, text } from './operand.ts'
import { Num, OperandError, RegoObject, RegoSet, Unanswerable, type Value } from './value.ts'

/** `bits` is 32 or 128; an address that is mapped (`::ffff:a.b.c.d`) has 128 until it is compared, as in Go. */
export type Address = { value: bigint; bits: number }
export type Network = Address & { ones: number }

const MAPPED = 0xffffn << 32n
const isMapped = ({ value, bits }: Address): boolean => bits === 128 && value >> 32n === 0xffffn

function v4(of: string): bigint | undefined {
  const parts = of.split('.')
  if (parts.length !== 4 || !parts.every((part) => /^(0|[1-9]\d{0,2})$/.test(part) && Number(part) < 256))
    return undefined
  return parts.reduce((value, part) => (value << 8n) | BigInt(part), 0n)
}

/** Go's `netip.ParseAddr` without zones. */
export function addressOf(of: string): Address | undefined {
  if (!of.includes(':')) {
    const value = v4(of)
    return value === undefined ? undefined : { value, bits: 32 }
  }
  let rest = of
  let last: string[] = []
  if (of.includes('.')) {
    const at = of.lastIndexOf(':') + 1
    const value = v4(of.slice(at))
    if (value === undefined) return undefined
    last = [(value >> 16n).toString(16), (value & 0xffffn).toString(16)]
    rest = of.slice(0, at)
    if (!rest.endsWith('::')) rest = rest.slice(0, -1)
  }
  const halves = rest.split('::')
  if (halves.length > 2) return undefined
  const [before = [], after] = halves.map((half) => (half === '' ? [] : half.split(':')))
  const groups = [...before, ...(after ?? []), ...last]
  if (!groups.every((group) => /^[0-9a-f]{1,4}$/i.test(group))) return undefined
  const missing = 8 - groups.length
  if (after === undefined ? missing !== 0 : missing < 1) return undefined
  const whole = [...before, ...Array.from({ length: missing }, () => '0'), ...(after ?? []), ...last]
  return { value: whole.reduce((value, group) => (value << 16n) | BigInt(`0x${group}`), 0n), bits: 128 }
}

const mask = (ones: number, bits: number): bigint => ((1n << BigInt(ones)) - 1n) << BigInt(bits - ones)

/** Go's `net.ParseCIDR`: the network; `given` is the address as it was written. */
export function networkOf(of: string): (Network & { given: bigint }) | undefined {
  const slash = of.indexOf('/')
  if (slash < 0) return undefined
  const address = addressOf(of.slice(0, slash))
  const size = of.slice(slash + 1)
  if (!address || !/^\d{1,6}$/.test(size) || Number(size) > address.bits) return undefined
  const ones = Number(size)
  return { given: address.value, value: address.value & mask(ones, address.bits), bits: address.bits, ones }
}

const narrow = (address: Address): Address =>
  isMapped(address) ? { value: address.value & 0xffffffffn, bits: 32 } : address

/** `net.IPNet.Contains`. */
function contains(network: Network, address: Address): boolean {
  const net = narrow(network)
  const ones = net.bits === network.bits ? network.ones : Math.max(0, network.ones - 96)
  const ip = narrow(address)
  return net.bits === ip.bits && (ip.value & mask(ones, ip.bits)) === (net.value & mask(ones, ip.bits))
}

const lastOf = ({ value, bits, ones }: Network): bigint => value | ((1n << BigInt(bits - ones)) - 1n)

const needed = <T>(found: T | undefined): T => {
  if (found === undefined) throw new OperandError('not an address or CIDR')
  return found
}

/** `net.cidr_contains` of an address or another network. */
function cidrContains(a: Value, b: Value): boolean {
  const outer = needed(networkOf(text(a)))
  const address = addressOf(text(b))
  if (address) return contains(outer, address)
  const inner = needed(networkOf(text(b)))
  const plain = (net: Network) => net.bits === 128 && !isMapped(net)
  if (plain(outer) && plain(inner))
    return outer.ones <= inner.ones && (inner.value & mask(outer.ones, 128)) === outer.value
  return contains(outer, inner) && contains(outer, { value: lastOf(inner), bits: inner.bits })
}

/** Each element with the index that stands for it in the answer. */
function indexed(of: Value): [cidr: Value, index: Value][] {
  const first = (item: Value): Value => {
    if (typeof item === 'string') return item
    if (isArray(item) && item.length > 0) return item[0] as Value
    throw new OperandError('element must be string or non-empty array')
  }
  if (typeof of === 'string') return [[of, of]]
  if (isArray(of)) return of.map((item, i) => [first(item), new Num(i)])
  if (of instanceof RegoSet) return of.items.map((item) => [first(item), item])
  if (of instanceof RegoObject) return of.entries.map(([key, item]) => [first(item), key])
  return []
}

const containsMatches: Builtin = ([a, b]) => {
  const found: Value[] = []
  for (const [cidr, index] of indexed(a as Value))
    for (const [inner, other] of indexed(b as Value))
      if (cidrContains(cidr, inner)) found.push([index, other])
  return new RegoSet(found)
}

/** RFC 5952, and dotted for mapped addresses, as Go writes both. */
export function addressText(address: Address): string {
  const { value, bits } = narrow(address)
  if (bits === 32) return [24n, 16n, 8n, 0n].map((by) => (value >> by) & 255n).join('.')
  const groups = Array.from({ length: 8 }, (_, i) => ((value >> BigInt(112 - 16 * i)) & 0xffffn).toString(16))
  let best = { from: -1, length: 1 }
  for (let from = 0; from < 8; from++) {
    let length = 0
    while (groups[from + length] === '0') length++
    if (length > best.length) best = { from, length }
  }
  if (best.from < 0) return groups.join(':')
  return `${groups.slice(0, best.from).join(':')}::${groups.slice(best.from + best.length).join(':')}`
}

const MOST_ADDRESSES = 65_536n

const expand: Builtin = ([value]) => {
  const network = needed(networkOf(text(value)))
  const count = 1n << BigInt(network.bits - network.ones)
  if (count > MOST_ADDRESSES) throw new Unanswerable(`net.cidr_expand: more than ${MOST_ADDRESSES} addresses`)
  const found: string[] = []
  for (let i = 0n; i < count; i++) {
    const address = { value: network.value + i, bits: network.bits }
    if (!contains(network, address)) break
    found.push(addressText(address))
  }
  return new RegoSet(found)
}

/** Of an address alone, the network of its class (`net.IP.DefaultMask`). */
function mergeable(of: Value): Network & { shown: string } {
  if (typeof of !== 'string') throw new OperandError('element must be string')
  const address = addressOf(of)
  if (address) {
    const { value, bits } = narrow(address)
    if (bits !== 32) throw new OperandError('IPv6 invalid: needs prefix length')
    const first = value >> 24n
    const ones = first < 128n ? 8 : first < 192n ? 16 : 24
    return { value: value & mask(ones, 32), bits, ones, shown: `${addressText({ value, bits })}/${ones}` }
  }
  const network = needed(networkOf(of))
  if (isMapped(network)) throw new Unanswerable('net.cidr_merge: a mapped network')
  return { ...network, shown: `${addressText(network)}/${network.ones}` }
}

type Range = { first: bigint; last: bigint; bits: number; shown: string | undefined }

const merge: Builtin = ([value]) => {
  const ranges = members(value).map((item): Range => {
    const net = mergeable(item)
    // In one order with IPv6, as mapped addresses.
    const base = net.bits === 32 ? MAPPED : 0n
    return { first: base + net.value, last: base + lastOf(net), bits: net.bits, shown: net.shown }
  })
  ranges.sort(
    (a, b) =>
      Number(a.last - b.last > 0n) - Number(a.last - b.last < 0n) ||
      Number(a.first > b.first) - Number(a.first < b.first),
  )
  for (let i = ranges.length - 1; i > 0; i--) {
    const [here, before] = [ranges[i] as Range, ranges[i - 1] as Range]
    const lowest = here.bits === 32 ? MAPPED : 0n
    const previous = here.first === lowest ? here.first : here.first - 1n
    if (previous > before.last) continue
    if (here.bits !== before.bits)
      throw new Unanswerable('net.cidr_merge: ranges of both families that touch')
    const first = before.first < here.first ? before.first : here.first
    ranges.splice(i - 1, 2, { first, last: here.last, bits: here.bits, shown: undefined })
  }
  return new RegoSet(ranges.flatMap((range) => range.shown ?? networksOf(range)))
}

/** The fewest networks that make up a range. */
function networksOf({ first, last, bits }: Range): string[] {
  const base = bits === 32 ? MAPPED : 0n
  const found: string[] = []
  for (let at = first - base; at <= last - base; ) {
    let ones = bits
    const size = () => 1n << BigInt(bits - ones + 1)
    while (ones > 0 && at % size() === 0n && at + size() - 1n <= last - base) ones--
    found.push(`${addressText({ value: at, bits })}/${ones}`)
    at += 1n << BigInt(bits - ones)
  }
  return found
}

export const NET: Record<string, Builtin> = {
  'net.cidr_contains_matches': containsMatches,
  'net.cidr_expand': expand,
  'net.cidr_is_valid': ([value]) => typeof value === 'string' && networkOf(value) !== undefined,
  'net.cidr_merge': merge,
}

const intersects: Builtin = ([a, b]) => {
  const [one, other] = [needed(networkOf(text(a))), needed(networkOf(text(b)))]
  return contains(one, other) || contains(other, one)
}

/** Those that the module has of its own. */
export const NATIVE_NET = {
  'net.cidr_contains': ([a, b]) => cidrContains(a as Value, b as Value),
  'net.cidr_intersects': intersects,
} satisfies Record<string, Builtin>
