import { createHash, createPrivateKey, createPublicKey, type KeyObject, sign, verify } from 'node:crypto'

/**
 * Checkpoints as signed notes (C2SP signed-note and tlog-checkpoint), Ed25519, as Go's `golang.org/x/mod/sumdb/note`
 * reads and writes them: origin, size and root of the tree, an empty line, a line of signature.
 */
export type Checkpoint = { origin: string; size: number; root: Buffer }
export type Signer = { name: string; key: KeyObject }
/** `name` is undefined where only a key is known, and any signer's name will do. */
export type Verifier = { name: string | undefined; key: KeyObject }

const ED25519 = 1
/** DER before the 32 bytes of a raw key (RFC 8410). */
const PRIVATE = Buffer.from('302e020100300506032b657004220420', 'hex')
const PUBLIC = Buffer.from('302a300506032b6570032100', 'hex')

const rawOf = (key: KeyObject): Buffer =>
  (key.type === 'public' ? key : createPublicKey(key))
    .export({ type: 'spki', format: 'der' })
    .subarray(PUBLIC.length)
const taggedOf = (key: KeyObject): Buffer => Buffer.concat([Buffer.of(ED25519), rawOf(key)])
const keyId = (name: string, key: KeyObject): Buffer =>
  createHash('sha256').update(`${name}\n`).update(taggedOf(key)).digest().subarray(0, 4)

/** A private key in PEM (PKCS 8), or in Go's form `PRIVATE+KEY+name+id+key`; undefined for anything else. */
export function readSigningKey(text: string): KeyObject | undefined {
  try {
    const go = /^PRIVATE\+KEY\+[^+\s]+\+[0-9a-f]{8}\+([A-Za-z0-9+/=]+)$/.exec(text.trim())
    const bytes = go ? Buffer.from(go[1] as string, 'base64') : undefined
    if (bytes && (bytes.length !== 33 || bytes[0] !== ED25519)) return undefined
    const key = bytes
      ? createPrivateKey({ key: Buffer.concat([PRIVATE, bytes.subarray(1)]), type: 'pkcs8', format: 'der' })
      : createPrivateKey(text)
    return key.asymmetricKeyType === 'ed25519' ? key : undefined
  } catch {
    return undefined
  }
}

/** A public key in PEM, or a verifier key `name+id+key`; undefined for anything else. */
export function readVerifier(text: string): Verifier | undefined {
  try {
    const go = /^([^+\s]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/=]+)$/.exec(text.trim())
    if (!go) {
      const key = createPublicKey(text)
      return key.asymmetricKeyType === 'ed25519' ? { name: undefined, key } : undefined
    }
    const [, name = '', id = '', encoded = ''] = go
    const bytes = Buffer.from(encoded, 'base64')
    if (bytes.length !== 33 || bytes[0] !== ED25519) return undefined
    const key = createPublicKey({
      key: Buffer.concat([PUBLIC, bytes.subarray(1)]),
      type: 'spki',
      format: 'der',
    })
    return keyId(name, key).toString('hex') === id ? { name, key } : undefined
  } catch {
    return undefined
  }
}

/** What a verifier needs, in Go's form. */
export const verifierKey = ({ name, key }: Signer): string =>
  `${name}+${keyId(name, key).toString('hex')}+${taggedOf(key).toString('base64')}`

export function writeNote(signer: Signer, size: number, root: Buffer): string {
  const text = `${signer.name}\n${size}\n${root.toString('base64')}\n`
  const signature = Buffer.concat([keyId(signer.name, signer.key), sign(null, Buffer.from(text), signer.key)])
  return `${text}\n— ${signer.name} ${signature.toString('base64')}\n`
}

/** What a note says, signed or not; undefined for what is no checkpoint. Lines after the root are extensions. */
export function readNote(note: string): Checkpoint | undefined {
  const [, text] = /^([\s\S]*\n)\n(?:— [^\n]+\n)+$/.exec(note) ?? []
  const [origin = '', size = '', root = ''] = text?.split('\n') ?? []
  if (origin === '' || !/^(?:0|[1-9]\d{0,15})$/.test(size)) return undefined
  const bytes = Buffer.from(root, 'base64')
  return bytes.length === 32 && bytes.toString('base64') === root
    ? { origin, size: Number(size), root: bytes }
    : undefined
}

/** Whether a line of signature of the note is the verifier's. */
export function isSigned(note: string, verifier: Verifier): boolean {
  const cut = note.lastIndexOf('\n\n')
  if (cut < 0) return false
  const text = Buffer.from(note.slice(0, cut + 1))
  return note
    .slice(cut + 2)
    .split('\n')
    .some((line) => {
      const [, name = '', encoded = ''] = /^— ([^\s+]+) ([A-Za-z0-9+/=]+)$/.exec(line) ?? []
      const bytes = Buffer.from(encoded, 'base64')
      return (
        bytes.length === 68 &&
        (verifier.name ?? name) === name &&
        keyId(name, verifier.key).equals(bytes.subarray(0, 4)) &&
        verify(null, text, verifier.key, bytes.subarray(4))
      )
    })
}
