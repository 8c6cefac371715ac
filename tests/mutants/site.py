"""Faults in the site's reference, its table of derivatives and its notebooks.

Owns: the entries for `docs/site/`.
Must not own: the form of an entry (`__init__.py`).
Read next: `../test_site.py`.
"""

SITE = "tests/test_site.py"
FAULTS: list[tuple[str, ...]] = [
    *(
        ("docs/site/reference.py", old, new, SITE)
        for old, new in (
            ("not any(hasattr(base, key) for base in value.__mro__[1:])", "True"),
            ('"&lt;" if match[0] == "<"', '"<" if match[0] == "<"'),
            ("for at, gradients in row.kinks", "for at, gradients in row.kinks[1:]"),
            ("for module in (np, np.linalg, np.fft):", "for module in (np, np.linalg):"),
            ("if function in registry.COMPOSITES}", "if function in registry.VJPS}"),
            ("for function, entry in spelled.items() if kinks", "for function, entry in () if kinks"),
            ('return [text if text[0].isupper() else f"`{text}`" for text in texts]', "return texts"),
        )
    ),
    *(
        ("docs/site/notebooks.py", old, new, SITE, "nbclient")
        for old, new in (
            ("if example.want or example is examples[-1]:", "if example is examples[-1]:"),
            ('tags = ["raises-exception"] if example.exc_msg else []', "tags = []"),
            ("(>>>.*?)", "(.*?)"),
        )
    ),
]
