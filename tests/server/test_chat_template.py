"""What a model is told about tools depends on whether its chat template tells of them itself."""

from pathlib import Path

import pytest
from transformers import AutoTokenizer

from tgi_autoround.server.chat_template import ChatTemplate, ToolOffer
from tgi_autoround.server.errors import TemplateError
from tgi_autoround.server.schemas.chat import Message
from tgi_autoround.server.schemas.tools import FunctionDefinition, Tool

MESSAGES = [Message.model_validate({"role": "user", "content": "Is it raining?"})]
WEATHER = Tool(type="function", function=FunctionDefinition(name="weather", arguments={"type": "object"}))
OFFER = ToolOffer([WEATHER], "Call it.")
PLAIN = "{% for message in messages %}{{ message.role }}: {{ message.content }}{% endfor %}"
TELLS_TOOLS = (
    "{% for tool in tools or [] %}<{{ tool.function.name }} {{ tool.function.arguments }}>{% endfor %}" + PLAIN
)
IN_BRANCHES = "{%- if not tools is defined %}{%- set tools = none %}{%- endif %}{%- if tools %}!{% endif %}" + PLAIN
FOR_TRAINING = "{% for message in messages %}{% generation %}{{ message.content }}{% endgeneration %}{% endfor %}"


def template(served_model: Path, chat_template: object) -> ChatTemplate:
    tokenizer = AutoTokenizer.from_pretrained(served_model)
    tokenizer.chat_template = chat_template
    return ChatTemplate(tokenizer)


@pytest.mark.parametrize(
    ("chat_template", "expected"),
    [
        (TELLS_TOOLS, '<weather {"type":"object"}>user: Is it raining?\n---\nCall it.'),
        (IN_BRANCHES, "!user: Is it raining?\n---\nCall it."),
        (
            PLAIN,
            'user: Is it raining?\n---\n[{"type":"function","function":{"description":null,"name":"weather",'
            '"arguments":"{\\"type\\":\\"object\\"}"}}]\nCall it.',
        ),
    ],
)
def test_tools_are_told_once(served_model: Path, chat_template: str, expected: str) -> None:
    assert template(served_model, chat_template).render(MESSAGES, OFFER) == expected


def test_without_tools_nothing_is_added(served_model: Path) -> None:
    for chat_template in (TELLS_TOOLS, IN_BRANCHES, PLAIN):
        assert template(served_model, chat_template).render(MESSAGES) == "user: Is it raining?"


def test_of_several_templates_the_default_is_taken(served_model: Path) -> None:
    named = {"tool_use": "no", "default": PLAIN}
    assert template(served_model, named).render(MESSAGES, OFFER).startswith("user: Is it raining?\n---\n[")
    with pytest.raises(TemplateError, match="template not found"):
        template(served_model, {"tool_use": "no"}).render(MESSAGES)


def test_tags_for_training_are_no_obstacle(served_model: Path) -> None:
    assert template(served_model, FOR_TRAINING).render(MESSAGES) == "Is it raining?"
    assert template(served_model, FOR_TRAINING).render(MESSAGES, OFFER).endswith("]\nCall it.")


def test_a_template_that_cannot_be_read_is_an_error(served_model: Path) -> None:
    with pytest.raises(TemplateError):
        template(served_model, "{% if %}").render(MESSAGES, OFFER)
