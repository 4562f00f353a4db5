"""A generate request -> what the engine takes, or TGI's message about what is wrong with it.

Rules, order and wording are those of router/src/validation.rs, TGI 3.3.7.
"""

import secrets
from dataclasses import dataclass

from tgi_autoround.engine.config import EngineLimits
from tgi_autoround.engine.request import Request, SamplingParams
from tgi_autoround.server.errors import ValidationError
from tgi_autoround.server.prompts import Prompts
from tgi_autoround.server.schemas.generate import GenerateParameters
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
    """The limits of this server."""

    def __init__(self, config: ServeConfig, limits: EngineLimits, prompts: Prompts) -> None:
        self._config = config
        self._limits = limits
        self._prompts = prompts

    async def validate(
        self, inputs: str, parameters: GenerateParameters, *, add_special_tokens: bool, streams: bool = False
    ) -> ValidRequest:
        """Return the engine's request. Raises ValidationError."""
        self._check_best_of(parameters, streams=streams)
        _check_ranges(parameters)
        self._check_limits(parameters)
        if not inputs:
            raise ValidationError("`inputs` cannot be empty")
        self._check_truncate(parameters.truncate)
        self._refuse_unsupported(parameters)
        encoding = await self._prompts.encode(inputs, add_special_tokens=add_special_tokens)
        ids = encoding.ids[-parameters.truncate :] if parameters.truncate else encoding.ids
        sampling = _samples(parameters)
        seed = secrets.randbits(64) if parameters.seed is None else parameters.seed
        params = _sampling_params(parameters, self._new_tokens(len(ids), parameters), seed, do_sample=sampling)
        return ValidRequest(Request(ids, params), len(ids), seed if sampling else None)

    def _check_best_of(self, parameters: GenerateParameters, *, streams: bool) -> None:
        best_of = 1 if parameters.best_of is None else parameters.best_of
        if streams and best_of != 1:
            raise ValidationError("`best_of` != 1 is not supported when streaming tokens")
        if streams and parameters.decoder_input_details:
            raise ValidationError("`decoder_input_details` == true is not supported when streaming tokens")
        if best_of <= 1:
            return
        largest = self._config.max_best_of
        if best_of > largest > 1:
            raise ValidationError(f"`best_of` must be > 0 and <= {largest}. Given: {best_of}")
        if not _has_sampling_parameter(parameters):
            raise ValidationError("you must use sampling when `best_of` is > 1")
        if parameters.seed is not None:
            raise ValidationError("`seed` must not be set when `best_of` > 1")
        raise ValidationError("`best_of` != 1 is not allowed for this endpoint")

    def _check_limits(self, parameters: GenerateParameters) -> None:
        stops, most_stops = len(parameters.stop), self._config.max_stop_sequences
        if stops > most_stops:
            raise ValidationError(f"`stop` supports up to {most_stops} stop sequences. Given: {stops}")
        top_n_tokens, most = parameters.top_n_tokens or 0, self._config.max_top_n_tokens
        if top_n_tokens > most:
            raise ValidationError(f"`top_n_tokens` must be >= 0 and <= {most}. Given: {top_n_tokens}")

    def _check_truncate(self, truncate: int | None) -> None:
        longest = self._limits.max_input_tokens
        if truncate is not None and not 0 < truncate <= longest:
            raise ValidationError(f"`truncate` must be strictly positive and less than {longest}. Given: {truncate}")

    def _refuse_unsupported(self, parameters: GenerateParameters) -> None:
        if parameters.grammar is not None:
            raise ValidationError("grammar is not supported")
        if parameters.top_n_tokens:
            raise ValidationError("`top_n_tokens` != 0 is not allowed for this endpoint")
        if parameters.watermark:
            raise ValidationError("`watermark` is not supported")
        if parameters.adapter_id not in (None, self._config.model_id):
            raise ValidationError("`adapter_id` is not supported")

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


def _sampling_params(
    parameters: GenerateParameters, max_new_tokens: int, seed: int, *, do_sample: bool
) -> SamplingParams:
    return SamplingParams(
        max_new_tokens=max_new_tokens,
        seed=seed,
        do_sample=do_sample,
        temperature=_divisor(parameters.temperature),
        top_k=parameters.top_k or 0,
        top_p=1.0 if parameters.top_p is None else parameters.top_p,
        typical_p=1.0 if parameters.typical_p is None else parameters.typical_p,
        repetition_penalty=_divisor(parameters.repetition_penalty),
        frequency_penalty=parameters.frequency_penalty or 0.0,
        stop=tuple(parameters.stop),
    )


def _divisor(value: float | None) -> float:
    return 1.0 if value is None else max(value, SMALLEST_DIVISOR)
