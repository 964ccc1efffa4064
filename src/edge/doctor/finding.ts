/** What an examination says: what is the matter, and what to do about it; `fine` where nothing is. */
export type Finding = { about: string; level: 'fine' | 'note' | 'fault'; says: string; do?: string }

export const fine = (about: string, says: string): Finding => ({ about, level: 'fine', says })
export const note = (about: string, says: string, todo: string): Finding => ({
  about,
  level: 'note',
  says,
  do: todo,
})
export const fault = (about: string, says: string, todo: string): Finding => ({
  about,
  level: 'fault',
  says,
  do: todo,
})
