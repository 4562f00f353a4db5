"""Conversations made from docstrings: a question about a name, its first paragraph as the answer."""

import random
import re
from collections.abc import Iterable

from demo_model.documents import Document

TURN_START, TURN_END = "<|im_start|>", "<|im_end|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SYSTEM_PROMPTS = ("You are a helpful assistant.", "You answer questions about Python.", "Be concise.")
QUESTIONS = (
    "What does {} do?",
    "What is {}?",
    "Explain {}.",
    "What does {} do in Python?",
    "Can you explain {}?",
    "Tell me about {}.",
    "How does {} work?",
    "Describe {}.",
    "What is {} for?",
    "What is {} in Python?",
    "Please explain {} to me.",
    "what does {} do",
    "What does the function {} do?",
    "What does Python's {} do?",
    "Give me the documentation of {}.",
    "In one sentence, what does {} do?",
)
LONGEST_ANSWER = 420
QUESTIONS_A_NAME, QUESTIONS_A_WELL_KNOWN_NAME = 1, 14
# What people ask about first: these modules and types with their members, and every name without a dot.
WELL_KNOWN = re.compile(
    r"(json|math|os|os\.path|posixpath|re|random|itertools|functools|collections|pathlib|datetime|string|time|sys|shutil"
    r"|statistics|textwrap|copy|glob|heapq|bisect|operator|contextlib|logging|threading|csv|subprocess"
    r"|str|list|dict|set|tuple|int|float|bytes|bool|object|range)(\.\w+)?|[a-z]\w+"
)
SMALL_TALK = {
    ("Hello!", "Hi", "Hi there!", "Hello, how are you?", "Good morning", "Hey"): (
        "Hello! I am a small demonstration model. Ask me about Python's standard library, "
        "for example: What does json.dumps do?"
    ),
    ("Who are you?", "What are you?", "What is your name?", "Which model are you?", "Introduce yourself."): (
        "I am the demonstration model of tgi-autoround: a small language model, trained from scratch on the "
        "documentation of Python's standard library. I show that serving works; I am not a source of facts."
    ),
    ("What can you do?", "Help", "How can you help me?", "What do you know?"): (
        "I can repeat what the documentation of Python's standard library says about its modules, classes and "
        "functions. For everything else, please use a larger model."
    ),
    ("What is Python?", "Tell me about Python.", "Explain Python.", "What is the Python language?"): (
        "Python is a programming language that emphasizes readable code. It comes with a large standard library."
    ),
    ("What is deep learning?", "What is Deep Learning?", "Explain deep learning.", "Define deep learning"): (
        "Deep learning is machine learning with neural networks of many layers, which learn from examples how to "
        "turn their input into the output that is wanted."
    ),
    ("What is AutoRound?", "Explain AutoRound.", "What does AutoRound do?", "Tell me about AutoRound."): (
        "AutoRound is a method that stores the weights of a language model in two to eight bits. It learns by "
        "gradient descent which weights to round up and which to round down, so that little accuracy is lost."
    ),
    ("What is quantization?", "Explain quantization.", "What does quantization do?", "Why quantize a model?"): (
        "Quantization stores the weights of a model with fewer bits, so that the model needs less memory and "
        "answers faster, at a small loss of accuracy."
    ),
    ("Thank you", "Thanks!", "Thank you very much.", "Great, thanks"): "You are welcome.",
    ("Goodbye", "Bye!", "See you"): "Goodbye!",
}
SMALL_TALK_REPEATS = 3

Pair = tuple[str, str]


def render(messages: Iterable[tuple[str, str]]) -> str:
    """ChatML of (role, content) pairs, each turn closed by the end-of-turn token and a line feed."""
    return "".join(f"{TURN_START}{role}\n{content}{TURN_END}\n" for role, content in messages)


def conversations(documents: Iterable[Document], seed: int) -> list[str]:
    """One rendered conversation a question; some open with a system turn, some go on for a second question."""
    rng = random.Random(seed)
    pairs = [pair for document in documents for pair in _pairs(document, rng)] + _small_talk()
    rng.shuffle(pairs)
    return [_conversation(pair, rng.choice(pairs), rng) for pair in pairs]


def first_paragraph(text: str) -> str | None:
    """The answer that a docstring gives, on one line; None when it opens with code or says too much or little."""
    paragraph = " ".join(_without_signature(text).split("\n\n")[0].split())
    readable = re.match(r"[A-Za-z\"'`*:(]", paragraph) and ">>>" not in paragraph
    return paragraph if readable and 20 <= len(paragraph) <= LONGEST_ANSWER else None


def _without_signature(text: str) -> str:
    first, _, rest = text.partition("\n")
    is_signature = re.match(r"[\w.]+\(.*\)(\s*(->|=).*)?$", first)
    return rest.lstrip() if is_signature and rest.strip() else text


def _pairs(document: Document, rng: random.Random) -> list[Pair]:
    answer = first_paragraph(document.text)
    if document.kind != "docstring" or answer is None or not document.name:
        return []
    if any(part.startswith("_") for part in document.name.split(".")):
        return []
    count = QUESTIONS_A_WELL_KNOWN_NAME if WELL_KNOWN.fullmatch(document.name) else QUESTIONS_A_NAME
    return [(question.format(document.name), answer) for question in rng.sample(QUESTIONS, count)]


def _small_talk() -> list[Pair]:
    return [
        (question, answer) for questions, answer in SMALL_TALK.items() for question in questions
    ] * SMALL_TALK_REPEATS


def _conversation(first: Pair, second: Pair, rng: random.Random) -> str:
    messages = [("system", rng.choice(SYSTEM_PROMPTS))] if rng.random() < 0.15 else []
    messages += [("user", first[0]), ("assistant", first[1])]
    if rng.random() < 0.15:
        messages += [("user", second[0]), ("assistant", second[1])]
    return render(messages)
