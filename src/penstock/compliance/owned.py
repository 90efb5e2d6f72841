"""What no tool can know, kept in a project's `compliance.yaml`: each field has an owner and a text.

A digest over both says whether a field is still what it was when it was put on record.
"""

from __future__ import annotations

import difflib
import hashlib
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from penstock.audit.canonical import canonical
from penstock.errors import ProjectError

FILE = "compliance.yaml"


@dataclass(frozen=True)
class Question:
    """A field of the file."""

    name: str
    point: str  # of Annex IV; empty: for the inventory
    label: str  # what its answer is called in a document
    asks: str


@dataclass(frozen=True)
class Answer:
    """What somebody said, and answers for."""

    owner: str
    text: str

    @property
    def digest(self) -> str:
        content = canonical({"owner": self.owner, "text": self.text})
        return hashlib.sha256(content).hexdigest()


QUESTIONS = (
    Question("risk_class", "", "Risk class", "high, limited, minimal; and by which rule"),
    Question("next_review", "", "Next review", "a date: 2027-01-31"),
    Question(
        "intended_purpose",
        "1(a)",
        "Intended purpose",
        "What the system is for, who uses it, on whom, and what it must not be used for",
    ),
    Question("provider", "1(a)", "Provider", "Name and address of who places it on the market"),
    Question(
        "interactions",
        "1(b)",
        "Interaction with other systems",
        "Hardware, software and other AI systems that it acts together with",
    ),
    Question(
        "version_requirements",
        "1(c)",
        "Requirements on versions",
        "Which versions of software it needs, and what holds when they are updated",
    ),
    Question("forms", "1(d)", "Forms of supply", "How it is supplied: service, package, device, …"),
    Question("hardware", "1(e)", "Hardware", "The hardware that it is intended to run on"),
    Question(
        "product",
        "1(f)",
        "Product that it is part of",
        "Illustrations, marking and layout; or why it is part of no product",
    ),
    Question(
        "user_interface",
        "1(g)",
        "User interface",
        "What those who use it see, and where predictions appear",
    ),
    Question(
        "instructions_for_use",
        "1(h)",
        "Instructions for use",
        "The instructions themselves, or where they are kept, with a version",
    ),
    Question(
        "third_party",
        "2(a)",
        "Tools and models of third parties",
        "Which pre-trained models and tools were used, and how they were changed",
    ),
    Question(
        "design_choices",
        "2(b)",
        "Design choices",
        "Logic and assumptions, for whom, what is optimised, and what was traded for what",
    ),
    Question(
        "data_collection",
        "2(d)",
        "Origin and selection of the data",
        "How the data was obtained and selected, and on what legal ground",
    ),
    Question(
        "data_preparation",
        "2(d)",
        "Labelling and cleaning",
        "How labels came about, and what was cleaned or left out",
    ),
    Question(
        "human_oversight",
        "2(e)",
        "Human oversight",
        "Who oversees it, what helps them to understand its outputs, and how they step in",
    ),
    Question(
        "predetermined_changes",
        "2(f)",
        "Predetermined changes",
        "Which changes are foreseen, such as retraining, and what keeps it compliant then",
    ),
    Question(
        "discrimination",
        "2(g)",
        "Discriminatory impacts",
        "How it was tested for them, on which groups, and with what result",
    ),
    Question(
        "cybersecurity",
        "2(h)",
        "Cybersecurity beyond the model",
        "What protects the system around it: network, access, secrets, incidents",
    ),
    Question(
        "limitations",
        "3",
        "Capabilities and limitations",
        "What it can and cannot do, and how accurate it is for which groups of persons",
    ),
    Question(
        "risks",
        "3",
        "Foreseeable unintended outcomes",
        "Sources of risks to health, safety, fundamental rights and of discrimination",
    ),
    Question(
        "metric_appropriateness",
        "4",
        "Why these metrics",
        "Why the metrics and their limits are the right ones for this purpose",
    ),
    Question(
        "risk_management",
        "5",
        "Risk management system",
        "Risks that were found, how they are treated, and what risk remains (Article 9)",
    ),
    Question(
        "harmonised_standards",
        "7",
        "Harmonised standards",
        "Those applied, in full or in part; or what is done instead, and other standards",
    ),
    Question(
        "declaration_of_conformity",
        "8",
        "EU declaration of conformity",
        "A copy of it, or where it is kept, with date and number (Article 47)",
    ),
    Question(
        "post_market_monitoring",
        "9",
        "Post-market monitoring plan",
        "Who looks at what, how often, and what follows from it (Article 72(3))",
    ),
)
BY_NAME = {question.name: question for question in QUESTIONS}
HEADING = """\
# What no tool can know about this AI system, for `penstock compliance …`.
#
# Each field has an owner, who answers for its text. A field without either is printed as MISSING.
# Where one does not apply, say so and why. A change of a field is seen by its digest.
"""


def template() -> str:
    """The file with every field, empty, and what each asks for."""
    lines = [HEADING]
    for question in QUESTIONS:
        point = f"Annex IV, {question.point}. " if question.point else ""
        comment = textwrap.wrap(f"{point}{question.asks}.", 96)
        lines += [*(f"# {line}" for line in comment), f"{question.name}:", '  owner: ""']
        lines += ['  text: ""', ""]
    return "\n".join(lines)


def parsed(content: bytes) -> dict[str, Answer]:
    """What is answered, by field; what is empty is left out. Raises `ProjectError`."""
    try:
        document = yaml.safe_load(content.decode("utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ProjectError(f"{FILE} cannot be read: {reason}") from error
    if not isinstance(document, Mapping):
        raise ProjectError(f"{FILE} is no table of fields", hint=TEMPLATE_HINT)
    found = {str(name): _answer(str(name), value) for name, value in document.items()}
    return {name: answer for name, answer in found.items() if answer.owner and answer.text}


TEMPLATE_HINT = "`penstock compliance annex-iv --template` writes the file with every field"


def _answer(name: str, value: Any) -> Answer:
    if name not in BY_NAME:
        near = difflib.get_close_matches(name, BY_NAME, n=1)
        meant = f"did you mean {near[0]}? " if near else ""
        raise ProjectError(f"{FILE} has an unknown field {name!r}", hint=meant + TEMPLATE_HINT)
    if value is None:
        return Answer("", "")
    if not isinstance(value, Mapping) or not set(value) <= {"owner", "text"}:
        raise ProjectError(
            f"{FILE}: {name} is {value!r}",
            hint="write 'owner:' and 'text:' below it, each with a text",
        )
    return Answer(*(str(value.get(part) or "").strip() for part in ("owner", "text")))
