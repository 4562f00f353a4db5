"""Chat requests as generate requests."""

from dataclasses import dataclass, replace

from tgi_autoround.server.chat_template import ChatTemplate, ToolOffer
from tgi_autoround.server.errors import ToolError, ValidationError
from tgi_autoround.server.infer import Prompt
from tgi_autoround.server.schemas.chat import ChatRequest
from tgi_autoround.server.schemas.generate import GenerateParameters
from tgi_autoround.server.schemas.grammar import GrammarType
from tgi_autoround.server.tool_calls import call_grammar, offered

DEFAULT_TOOL_PROMPT = (
    "\nGiven the functions available, please respond with a JSON for a function call with its proper arguments that "
    "best answers the given prompt. Respond in the format {name: function name, parameters: dictionary of argument "
    "name and its value}.Do not use variables.\n"
)
"""TGI's words (router/src/lib.rs, 3.3.7), so that a model gets the same prompt."""


@dataclass(frozen=True)
class ChatPrompt:
    """What to generate for a chat request; with `calls_tool` the text will be a call of a tool."""

    prompt: Prompt
    calls_tool: bool


def prompt_of(chat: ChatRequest, template: ChatTemplate) -> ChatPrompt:
    """Render the conversation and translate the parameters. Raises ApiError."""
    _refuse_unsupported(chat)
    tools = [] if chat.tools is None else offered(chat.tools, chat.tool_choice)
    offer = ToolOffer(tools, chat.tool_prompt or DEFAULT_TOOL_PROMPT) if tools else None
    grammar = call_grammar(tools) if tools else chat.response_format
    text = template.render(chat.messages, offer)
    return ChatPrompt(Prompt(text, _parameters_of(chat, grammar), add_special_tokens=False), calls_tool=bool(tools))


def prompt_without_tools(chat: ChatRequest, template: ChatTemplate) -> ChatPrompt:
    """Return what to generate once the model has chosen to call none of the tools. Raises ApiError."""
    plan = prompt_of(chat.model_copy(update={"tools": None}), template)
    return replace(plan, prompt=replace(plan.prompt, is_counted=True))


def sampling_of(temperature: float | None) -> tuple[bool, float | None]:
    """Whether OpenAI's routes sample, and at which temperature: only 0 is greedy."""
    return (False, None) if temperature == 0.0 else (True, temperature)


def adapter_of(model: str | None) -> str | None:
    """The LoRA adapter that a model's name on OpenAI's routes asks for; TGI's own name is the served model."""
    return None if model == "tgi" else model


def _parameters_of(chat: ChatRequest, grammar: GrammarType | None) -> GenerateParameters:
    do_sample, temperature = sampling_of(chat.temperature)
    return GenerateParameters(
        do_sample=do_sample,
        temperature=temperature,
        # The sum is TGI's (router/src/lib.rs, 3.3.7); nothing penalizes presence as OpenAI defines it.
        repetition_penalty=None if chat.presence_penalty is None else chat.presence_penalty + 2.0,
        frequency_penalty=chat.frequency_penalty,
        top_p=chat.top_p,
        max_new_tokens=chat.max_tokens,
        stop=chat.stop or [],
        details=True,
        seed=chat.seed,
        top_n_tokens=chat.top_logprobs,
        grammar=grammar,
        adapter_id=adapter_of(chat.model),
    )


def _refuse_unsupported(chat: ChatRequest) -> None:
    if chat.response_format is not None and chat.tools is not None:
        raise ToolError("Grammar and tools are mutually exclusive")
    if (chat.n or 1) > 1:
        raise ValidationError("`n` != 1 is not supported")
    if chat.logit_bias:
        raise ValidationError("`logit_bias` is not supported")
