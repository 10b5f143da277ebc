"""The journal's five synthetic data sets: a generator and an evaluator each, standard library only.

| module | the journal's experiments | what it writes |
|---|---|---|
| `simple_dummy` | #1-#3, #9, #10 | made-up words, consonant and vowel in turn |
| `simple_dummy2` | #20-#27, #30 | lines whose digit says what to do with their letters or the previous line's |
| `addition_dummy` | #7, #8, #15-#17, #33 | sums of two numbers from 0 to 100 |
| `simple_sequence` | #29, #42 | a letter and a doubled symbol, two cycles, one long line |
| `simple_sequence2` | #43 | five interleaved cycles, with a little noise |

From a checkout, as in the journal, or from an installed femto::

    python3 dummy_data/simple_dummy.py > dataset.txt
    python3 -m femto.dummy_data.simple_dummy > dataset.txt

Every script takes `--seed N` (default 0: the same text each time, on every Python) and `--lines N`;
`simple_sequence2` also takes `--noise/--no-noise`.

From Python, `generate(seed, lines)` returns the same text, and `evaluate(complete, ...)` puts a model to the test
that the journal describes. `complete(prompt, count)` returns the text that the model puts after `prompt`, greedily chosen,
`count` characters or so: more is cut off, less is marked as it stands. The result has `passed`, `table()` (or `str()`)
and `to_json()`::

    from femto.dummy_data import simple_dummy2

    print(simple_dummy2.evaluate(complete).table())
"""
