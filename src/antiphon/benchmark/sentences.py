"""The texts of the benchmark: short everyday sentences, without numbers or names that can be spelled in two ways."""

from __future__ import annotations

SENTENCES = (
    "The shop on the corner is closed today.",
    "Please leave the door open for a while.",
    "We walked along the river until it got dark.",
    "My sister is looking for a new place to live.",
    "There was nothing left on the table.",
    "He always reads the paper before breakfast.",
    "The children are playing in the garden.",
    "Can you tell me where the station is?",
    "I would rather stay at home this evening.",
    "The bread is still warm from the oven.",
    "She wrote a long letter to her mother.",
    "It will rain again in the afternoon.",
    "The music was much too loud for me.",
    "They painted the kitchen white last summer.",
    "Nobody knew what to say after that.",
    "The last bus leaves before midnight.",
    "You should have told me a little earlier.",
    "A small bird is sitting on the window.",
    "The water in the lake is very cold.",
    "Our neighbours have bought a bigger car.",
)
