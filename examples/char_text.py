"""The text that the character models learn: the help topics that ship with Python.

Owns: the text, its characters as numbers, and windows of it to train on.
Must not own: any model (`char_gru.py`, `char_transformer.py`).
Read next: `char_gru.py`.
"""

from pydoc_data.topics import topics

import numpy as np


def load():
    """Return the ASCII characters that occur, and the text as their numbers (n,)."""
    text = "\n".join(text for _, text in sorted(topics.items()))
    text = "".join(
        character for character in text if character.isascii() and (character.isprintable() or character == "\n")
    )
    characters = sorted(set(text))
    number = {character: i for i, character in enumerate(characters)}
    return characters, np.array([number[character] for character in text])


def windows(numbers, count, length, rng):
    """Return random windows of the text (count, length), and their next characters."""
    starts = rng.integers(0, len(numbers) - length - 1, count)
    both = np.lib.stride_tricks.sliding_window_view(numbers, length + 1)[starts]
    return both[:, :-1], both[:, 1:]


def sampled(logits, rng):
    """Return the number of a character, drawn by the probabilities of the logits."""
    return int(np.argmax(logits + rng.gumbel(size=logits.shape)))
