/** Names of classes (`\\p{…}`) that Go 1.26 and RE2JS know in the same spelling, and mean the same by, up to Unicode 15.0. */
const KNOWN = new Set(
  `
  Any C Cc Cf Co Cs L LC Ll Lm Lo Lt Lu M Mc Me Mn N Nd Nl No P Pc Pd Pe Pf Pi Po Ps S Sc Sk Sm So Z
  Zl Zp Zs Adlam Ahom Arabic Armenian Avestan Balinese Bamum Batak Bengali Bhaiksuki Bopomofo Brahmi
  Braille Buginese Buhid Carian Chakma Cham Cherokee Chorasmian Common Coptic Cuneiform Cypriot
  Cyrillic Deseret Devanagari Dogra Duployan Elbasan Elymaic Ethiopic Georgian Glagolitic Gothic
  Grantha Greek Gujarati Gurmukhi Han Hangul Hanunoo Hatran Hebrew Hiragana Inherited Javanese Kaithi
  Kannada Katakana Kawi Kharoshthi Khmer Khojki Khudawadi Lao Latin Lepcha Limbu Lisu Lycian Lydian
  Mahajani Makasar Malayalam Mandaic Manichaean Marchen Medefaidrin Miao Modi Mongolian Mro Multani
  Myanmar Nabataean Nandinagari Newa Nko Nushu Ogham Oriya Osage Osmanya Palmyrene Phoenician Rejang
  Runic Samaritan Saurashtra Sharada Shavian Siddham Sinhala Sogdian Soyombo Sundanese Syriac Tagalog
  Tagbanwa Takri Tamil Tangsa Tangut Telugu Thaana Thai Tibetan Tifinagh Tirhuta Toto Ugaritic Vai
  Vithkuqi Wancho Yezidi Yi
  `
    .trim()
    .split(/\s+/),
)

/** One escape at a time, so that what is itself escaped begins nothing. */
const ESCAPE = /\\(?:[pP](?:\{\^?([^}]*)\}|(.))|[\s\S])/gu

/** The first class of a pattern that one of the two does not know, or not by this name. */
export function strangeClass(pattern: string): string | undefined {
  for (const [, braced, single] of pattern.matchAll(ESCAPE)) {
    const name = braced ?? single
    if (name !== undefined && !KNOWN.has(name)) return name
  }
  return undefined
}
