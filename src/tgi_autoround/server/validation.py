"""A generate request -> what the engine takes, or TGI's message about what is wrong with it.

Rules, order and wording are those of router/src/validation.rs, TGI 3.3.7.
"""

import secrets
from dataclasses import dataclass
from typing import Any

from tgi_autoround.engine import Engine, Grammar, Request, SamplingParams, Watermark
from tgi_autoround.errors import GrammarError
from tgi_autoround.server.errors import ValidationError
from tgi_autoround.server.grammar_compiler import GrammarCompiler
from tgi_autoround.server.grammars import engine_grammar, invalid
from tgi_autoround.server.prompts import Prompts
from tgi_autoround.server.schemas.generate import GenerateParameters
from tgi_autoround.server.schemas.grammar import GrammarType
from tgi_autoround.server.settings import ServeConfig

TOKENS_RESERVED_AT_ONCE = 1024
"""TGI checks that so many new tokens fit, however many are asked for, and ends the output where none fits."""

SMALLEST_DIVISOR = 1e-6
"""Logits divided by less overflow float32, and their probabilities are no numbers; the largest has won long before."""


@dataclass(frozen=True, slots=True)
class ValidRequest:
    """A request the engine can run; `seed` is None for greedy decoding."""

    request: Request
    input_length: int
    seed: int | None


class Validator:
    """The limits of this server, and what its engine can do."""

    def __init__(self, config: ServeConfig, engine: Engine, prompts: Prompts, compiler: GrammarCompiler) -> None:
        self._config = config
        self._engine = engine
        self._limits = engine.limits
        self._prompts = prompts
        self._compiler = compiler
        self._watermark = _watermark(config)

    def check_stream(self, parameters: GenerateParameters) -> None:
        """Refuse what needs a whole answer. Raises ValidationError."""
        if parameters.best_of not in (None, 1):
            raise ValidationError("`best_of` != 1 is not supported when streaming tokens")
        if parameters.decoder_input_details:
            raise ValidationError("`decoder_input_details` == true is not supported when streaming tokens")

    def check_best_of(self, best_of: int) -> None:
        """Refuse more generations than this server makes for one request. Raises ValidationError."""
        largest = self._config.max_best_of
        if largest == 1 != best_of:
            raise ValidationError("`best_of` != 1 is not allowed for this endpoint")
        if best_of > largest:
            raise ValidationError(f"`best_of` must be > 0 and <= {largest}. Given: {best_of}")

    async def validate(self, inputs: str, parameters: GenerateParameters, *, add_special_tokens: bool) -> ValidRequest:
        """Return the engine's request. Raises ValidationError."""
        self._check_parameters(parameters)
        if not inputs:
            raise ValidationError("`inputs` cannot be empty")
        self._check_truncate(parameters.truncate)
        encoding = await self._prompts.encode(inputs, add_special_tokens=add_special_tokens)
        ids = encoding.ids[-parameters.truncate :] if parameters.truncate else encoding.ids
        sampling = _samples(parameters)
        seed = secrets.randbits(64) if parameters.seed is None else parameters.seed
        params = _sampling_params(
            parameters,
            max_new_tokens=self._new_tokens(len(ids), parameters),
            seed=seed,
            do_sample=sampling,
            watermark=self._watermark if parameters.watermark else None,
            grammar=await self._compiled(parameters.grammar) if parameters.grammar else None,
        )
        request = Request(
            ids,
            params,
            prefill_logprobs=parameters.decoder_input_details and self._config.enable_prefill_logprobs,
            # TGI answers a name that it does not know with the model itself.
            adapter=parameters.adapter_id if parameters.adapter_id in self._engine.adapters else None,
        )
        return ValidRequest(request, len(ids), seed if sampling else None)

    def _check_parameters(self, parameters: GenerateParameters) -> None:
        best_of = parameters.best_of or 1
        if best_of > 1 and not _has_sampling_parameter(parameters):
            raise ValidationError("you must use sampling when `best_of` is > 1")
        _check_ranges(parameters)
        stops, most_stops = len(parameters.stop), self._config.max_stop_sequences
        if stops > most_stops:
            raise ValidationError(f"`stop` supports up to {most_stops} stop sequences. Given: {stops}")
        if best_of > 1 and parameters.seed is not None:
            raise ValidationError("`seed` must not be set when `best_of` > 1")
        top_n_tokens, most = parameters.top_n_tokens or 0, self._config.max_top_n_tokens
        if top_n_tokens > most:
            raise ValidationError(f"`top_n_tokens` must be >= 0 and <= {most}. Given: {top_n_tokens}")

    def _check_truncate(self, truncate: int | None) -> None:
        longest = self._limits.max_input_tokens
        if truncate is not None and not 0 < truncate <= longest:
            raise ValidationError(f"`truncate` must be strictly positive and less than {longest}. Given: {truncate}")

    async def _compiled(self, grammar: GrammarType) -> Grammar:
        """Return a grammar that the engine has compiled."""
        if self._config.disable_grammar_support:
            raise ValidationError("grammar is not supported")
        wanted = engine_grammar(grammar)
        try:
            return await self._compiler.compile(wanted)
        except GrammarError as error:
            raise invalid(str(error)) from error

    def _new_tokens(self, input_length: int, parameters: GenerateParameters) -> int:
        """Return how many tokens may be generated after `input_length` of prompt."""
        total, longest = self._limits.max_total_tokens, self._limits.max_input_tokens
        room = max(0, total - input_length)
        wanted = room if parameters.max_new_tokens is None else parameters.max_new_tokens
        reserved = min(wanted, TOKENS_RESERVED_AT_ONCE)
        if input_length + reserved > total:
            raise ValidationError(
                f"`inputs` tokens + `max_new_tokens` must be <= {total}. "
                f"Given: {input_length} `inputs` tokens and {reserved} `max_new_tokens`"
            )
        if input_length > longest:
            raise ValidationError(f"`inputs` must have less than {longest} tokens. Given: {input_length}")
        return min(wanted, room)


def _check_ranges(parameters: GenerateParameters) -> None:
    rules = (
        (_is_not_positive(parameters.temperature), "`temperature` must be strictly positive"),
        (_is_not_positive(parameters.repetition_penalty), "`repetition_penalty` must be strictly positive"),
        (
            not -2.0 <= (parameters.frequency_penalty or 0.0) <= 2.0,
            "`frequency_penalty` must be >= -2.0 and <= 2.0",
        ),
        (_is_no_share(parameters.top_p), "`top_p` must be > 0.0 and < 1.0"),
        (_is_no_share(parameters.typical_p), "`typical_p` must be > 0.0 and < 1.0"),
        (_is_not_positive(parameters.top_k), "`top_k` must be strictly positive"),
        (parameters.max_new_tokens == 0, "`max_new_tokens` must be strictly positive"),
    )
    for is_wrong, message in rules:
        if is_wrong:
            raise ValidationError(message)


def _is_not_positive(value: float | None) -> bool:
    return value is not None and value <= 0


def _is_no_share(value: float | None) -> bool:
    return value is not None and not 0.0 < value < 1.0


def _has_sampling_parameter(parameters: GenerateParameters) -> bool:
    given = (parameters.temperature, parameters.top_k, parameters.top_p, parameters.typical_p)
    return parameters.do_sample or any(value is not None for value in given)


def _samples(parameters: GenerateParameters) -> bool:
    """Whether tokens are drawn at random: unlike for `best_of`, a temperature of 1.0 alone does not do it."""
    warps = (parameters.top_k, parameters.top_p, parameters.typical_p)
    return (
        parameters.do_sample or parameters.temperature not in (None, 1.0) or any(value is not None for value in warps)
    )


def _sampling_params(parameters: GenerateParameters, **decided: Any) -> SamplingParams:
    return SamplingParams(
        **decided,
        temperature=_divisor(parameters.temperature),
        top_k=parameters.top_k or 0,
        top_p=1.0 if parameters.top_p is None else parameters.top_p,
        typical_p=1.0 if parameters.typical_p is None else parameters.typical_p,
        repetition_penalty=_divisor(parameters.repetition_penalty),
        frequency_penalty=parameters.frequency_penalty or 0.0,
        stop=tuple(parameters.stop),
        top_n_tokens=parameters.top_n_tokens or 0,
    )


def _watermark(config: ServeConfig) -> Watermark:
    given = {"gamma": config.watermark_gamma, "delta": config.watermark_delta}
    return Watermark(**{name: value for name, value in given.items() if value is not None})


def _divisor(value: float | None) -> float:
    return 1.0 if value is None else max(value, SMALLEST_DIVISOR)
