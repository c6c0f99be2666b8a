/** Texts that tokenizers disagree on: many scripts, code, white space of all kinds, marks, emoji, halves of surrogate pairs, long runs. */
import type { Random } from './random'

/** Ordinary writing, of which vocabularies are made and which benches read. */
export const WRITING = [
  `The lighthouse keeper's daughter didn't say what she'd seen; "it's nothing," she told them, "we'll talk tomorrow." They've been there since
1987, haven't they? Prices rose by 3.5% to $1,249.00 (about 1,100 euros) between 09:30 and 17:45 on 2024-03-31. SHE'LL COME, I'M SURE: they're
HERE already, aren't THEY'RE? Rock'n'roll isn't dead. See https://example.org/a/b?c=d&e=%20#f or write to someone.else+tag@example.com.`,
  `export async function* readLines(stream: AsyncIterable<Uint8Array>, { limit = 1_000 }: { limit?: number } = {}) {
\tconst decoder = new TextDecoder('utf-8', { fatal: false });
\tlet rest = '';
\tfor await (const chunk of stream) {
\t\trest += decoder.decode(chunk, { stream: true });
\t\tif (rest.length > limit) throw new RangeError(\`line of \${rest.length} > \${limit}\`);
\t}
}\r\n\r\n# python
def fibonacci(n: int) -> list[int]:
    a, b = 0, 1
    result = []
    while len(result) < n:
        result.append(a); a, b = b, a + b    # O(n)
    return result

    if x != y && (z <= 0x7fff || !ok) { i++; j -= 2; k **= 3; /* ... */ }  // ======== end ========
<div class="card" id='x1'><p>Hello&nbsp;<b>world</b></p></div> {"key": [1, 2.5e-10, null, true], "näme": "\\u00e9"}`,
  `春眠不觉晓，处处闻啼鸟。夜来风雨声，花落知多少？机器学习模型需要大量的数据，数据越多，模型越好。我们在二〇二四年三月去了北京和上海。
吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。カタカナとひらがな、「引用」もあります。
안녕하세요. 오늘 날씨가 정말 좋네요! 내일은 비가 올 것 같아요.`,
  `Съешь же ещё этих мягких французских булок, да выпей чаю. Ο καιρός είναι πολύ καλός σήμερα, δεν νομίζεις; Die Straße über den Fluß ist
größer geworden; Äpfel, Öl und Übermut. L'été dernier, l'élève a reçu un cœur brisé à Noël. İstanbul'da ışık ve ağaç. Zażółć gęślą jaźń.
السلام عليكم، كيف حالك اليوم؟ الكتاب على الطاولة. שלום עולם, מה שלומך היום? नमस्ते दुनिया, आप कैसे हैं? สวัสดีชาวโลก วันนี้อากาศดีมาก
Xin chào thế giới, hôm nay trời đẹp quá. 🙂 👍🏽 👩‍👩‍👧‍👦 🇩🇪🇯🇵 ❤️‍🔥 ☕️ naïve cafe\u0301 résumé A\u030a`,
]

/** Where splitting and byte handling go wrong first. */
export const CORNERS: readonly string[] = [
  '',
  ' ',
  'a',
  '\u0000',
  'a\u0000b\u0000\u0000',
  '\r\n\r\n\n\r \r\n',
  'line\r\nline\r\n\r\n  indented\n\n\n',
  'tab\tand  two   three    spaces     ',
  '    leading',
  '\n \n  \n   x\n',
  'nbsp\u00a0x\u00a0\u00a0 y\u00a0',
  'next\u0085line\u0085\u0085 \u0085x',
  '\ufeffbom \ufeff x\ufeff',
  '\u2028\u2029\u3000ideographic\u3000\u3000space\u1680\u205f\u202fx',
  '\u200bzero\u200bwidth\u200d\u2060',
  "don't DON'T Don'T we'LL We'Ll I'M i'm they'RE 'tis 's 'S '' 'll'll O'RLY x'd 'd",
  "don\u2019t \u017f's '\u017f \u212a'\u212a",
  'ʰʱ aʰb ʼn ª º Ǆǅǆ ǅungla ΑΣσς ßẞ İiıI',
  'e\u0301e\u0301\u0301 \u0301x \u0301\u0301\u0301 A\u0301B\u0301c नि क्षि நி ก็',
  '0 12 123 1234 12345 ٣٤٥٦ ०१२३ ⅠⅡⅫ ½¾ ²³¹ 一二三 𝟘𝟙𝟚 ① 1,234.5e-6',
  '👩‍👩‍👧‍👦👨🏿‍🚀🏴󠁧󠁢󠁳󠁣󠁴󠁿🇩🇪🇯🇵🇺 🙂🙂 ☕️ #️⃣',
  '𠀀𠀁𪜶 𐐀𐐨 𝒜𝒷𝔠 \u{e0001} \u{10ffff} \u{1f600}',
  'lone \ud800 high \udc00 low \udc00\ud800 swapped \ud83d\ud83d\ude00\ude00',
  '\ud800',
  'x\udfff',
  '\ue000\uf8ff private \u0378 unassigned \ufffe \uffff',
  '/// // / a/b/c \\\\ //\n/\r\n !!!/// ...\n\n',
  '<think>\nreason\n</think>\n\nanswer',
  ']~!b[]~b]system\nYou are.[e~[\n]~b]user\nhi[e~[\n]~b]ai\n<think>\n',
  ']~b ]~!b ]]~b]] [e~ [e~[e~[ <thin <think <think>> <<think> </think',
  '_snake_case camelCase PascalCase SCREAMING_CASE kebab-case HTMLElement iOS McDonald',
  '==== ---- ____ **** //// #### ~~~~ ;;;; )))) }}}}\n}}\n',
  `${'a'.repeat(300)} ${'ab'.repeat(300)} ${' '.repeat(300)}x${'\n'.repeat(300)}${'!'.repeat(300)}${'9'.repeat(301)}`,
  `${'的'.repeat(100)}${'春眠不觉晓处处闻啼鸟'.repeat(40)}${'😀'.repeat(90)}${'\u0301'.repeat(200)}${'Ab'.repeat(150)}`,
]

const SNIPPETS = [
  "'s 'S 't 'RE 'vE 'll 'D 'm \r\n \n\n \r \t \u00a0 \u0085 \u3000 // <think> </think> ]~b] [e~[ ]~!b[ ]~b <thin 👩‍👩‍👧 🇩🇪 e\u0301".split(
    ' ',
  ),
  [' ', '  ', '   ', '\n', '/', "'", '\ud800', '\udc00', '\u{10000}', '\ufffd', '\u0000'],
].flat()

/** Ranges of code points that differ in how patterns see them. */
const RANGES: readonly [number, number][] = [
  [0x20, 0x7e],
  [0x41, 0x5a],
  [0x61, 0x7a],
  [0x30, 0x39],
  [0x00, 0x20],
  [0x80, 0x24f],
  [0x2b0, 0x36f],
  [0x370, 0x52f],
  [0x590, 0x6ff],
  [0x900, 0xdff],
  [0x1c4, 0x1cc],
  [0x1680, 0x1680],
  [0x2000, 0x206f],
  [0x2070, 0x218f],
  [0x3000, 0x30ff],
  [0x4e00, 0x4fff],
  [0xac00, 0xacff],
  [0xd800, 0xdfff],
  [0xfe00, 0xffff],
  [0x10400, 0x1044f],
  [0x1d400, 0x1d7ff],
  [0x1f300, 0x1faff],
  [0, 0x10ffff],
]

/** A text of up to `pieces` pieces: single characters, runs of one, and what patterns and added tokens look for. */
export function randomText(random: Random, pieces: number): string {
  const [low, high] = RANGES[random.integer(RANGES.length)]!
  return Array.from({ length: 1 + random.integer(pieces) }, () => {
    const kind = random.integer(8)
    if (kind === 0) return SNIPPETS[random.integer(SNIPPETS.length)]!
    const [first, last] = kind < 4 ? [low, high] : RANGES[random.integer(RANGES.length)]!
    const character = String.fromCodePoint(first + random.integer(last - first + 1))
    return kind === 1 ? character.repeat(1 + random.integer(40)) : character
  }).join('')
}
