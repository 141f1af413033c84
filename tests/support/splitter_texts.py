"""Texts on which tokenizers differ: in twenty scripts, code, white space, and rare characters."""

from __future__ import annotations

TEXTS = (
    "Hello world! It's 2026, and they'll say I'D've known.",
    "HELLO'S WE'RE you'Re don'T",
    "1234567 12 3 100000.25 0x1F 1e-10 v2.0",
    "  two spaces   three\tTab\t\ttabs   ",
    "line\nline\n\n\nmore\r\nlines\r\n\r\n  indented\n    deeper\n",
    "def add(a, b):\n    return a + b  # sum\n\n\nclass Foo(Bar):\n\tpass\n",
    "if (x>=10 && y!=3) { z[i]++; } // done\n/* a/b */ http://a.b/c?d=e&f=g#h\n",
    "CamelCaseWords snake_case_words SCREAMING_CASE HTMLParser iPhone",
    "Grüße aus Köln, façade, naïve, Ångström, e\u0301te\u0301",
    "Привет, мир! Это тест 123.",
    "世界你好。日本語のテスト、한국어 시험",
    "שלום עולם مرحبا بالعالم १२३ ٤٥٦ ½ ² Ⅷ",
    "🎆 emoji 👨‍👩‍👧‍👦 flags 🇩🇪 done",
    "$100 = €90; 50% off @home #tag ^up ~about `code` |pipe|",
    "\u00a0no\u00a0break\u2003em\u3000wide",
    '{"a": [1, 2.5, null], "b": {"c": "d\\n"}}',
    "...!!!???---___***",
    " leading and trailing ",
    "\n",
    "a",
    "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι.",  # noqa: RUF001
    "सभी मनुष्यों को गौरव और अधिकारों के मामले में स्वतन्त्रता है।",
    "সমস্ত মানুষ স্বাধীনভাবে সমান মর্যাদা নিয়ে জন্মগ্রহণ করে।",
    "மனிதப் பிறவியினர் சகலரும் சுதந்திரமாகவே பிறக்கின்றனர்.",
    "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกัน ๑๒๓",
    "មនុស្សទាំងអស់ កើតមកមានសេរីភាព និងសមភាព",
    "ყველა ადამიანი იბადება თავისუფალი და თანასწორი",
    "Բոլոր մարդիկ ծնվում են ազատ ու հավասար։",  # noqa: RUF001
    "የሰው ልጅ ሁሉ ሲወለድ ነጻና በክብርና በመብትም እኩልነት ያለው ነው።",
    "འགྲོ་བ་མིའི་རིགས་རྒྱུད་ཡོངས་ལ་སྐྱེས་ཙམ་ཉིད་ནས་ཆེ་མཐོངས།",
    "လူတိုင်းသည် တူညီ လွတ်လပ်သော ဂုဏ်သိက္ခာဖြင့်",
    "人人生而自由,在尊严和权利上一律平等。12345年 apple工作",
    "カタカナ ひらがな ｶﾀｶﾅ ＡＢＣ １２３",  # noqa: RUF001
    "a\u0300\u0301\u0302 Z\u0351\u036b\u0343 q\u0307\u0323 \u1e69 s\u0323\u0307",
    "\ufeffbom \u200bzero\u200djoin \u202ertl\u202c \ufffd \ue000 \U0010fffd \x00\x07\x7f\x85\u2028",
    "𝒞𝒶𝓁𝓁𝒾 𐐀𐐨 𓀀 🀄 ﬁ ﬀ ǅ ŉ ß ẞ İ ı K Å",  # noqa: RUF001
    "'s 't 're 've 'm 'll 'd 'S 'T 'RE x's y'LL ''' ```",
    "3 33 333 3333 33333 333333 3333333 3.3 3..3 3...3",
    " \n  \n\n \t\n   \r\n\t\t  x\n ",
    "<tag> <|not_a_token|> [INST] <0x0A> ▁under ▁▁ <h1>x</h1>",
    "a)\n\n(b;\r\n\r\n c /\n/ d",
    "x" * 3000,
    "word " * 600,
    "{[(" * 500 + ")]}" * 500,
    " " * 700 + "\t" * 70 + "\n" * 70 + "end",
)
