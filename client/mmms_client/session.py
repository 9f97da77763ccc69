"""A session: one image, its surfaces and their clicks, answered by a predictor.

::

    session = Session(predictor, image, {"thermal": thermal})
    road = session.add_surface("road", class_name="ground")
    answer = session.click(road, 320, 400)              # positive
    answer = session.click(road, 320, 90, is_positive=False)
    session.undo()                                      # no model is asked
    session.joint                                       # uint16 [H, W]

:class:`AsyncSession` is the same for a predictor whose calls are awaited; many of them can share one.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mmms_client.annotation import Annotation, Answer
from mmms_client.clicks import Click
from mmms_client.contract import ModelContract
from mmms_client.geometry import Region
from mmms_client.predictor import Encoded, Modalities, Predictor


class AsyncPredictor(Protocol):
    """A :class:`mmms_client.predictor.Predictor` whose calls are awaited."""

    @property
    def contract(self) -> ModelContract: ...

    async def encode(
        self, image: NDArray[np.uint8], modalities: Modalities | None = None, region: Region | None = None
    ) -> Encoded: ...

    async def predict(
        self,
        encoded: Encoded,
        clicks: Sequence[Click],
        previous_mask: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]: ...


class Session(Annotation):
    """An :class:`~mmms_client.annotation.Annotation` with a predictor behind it."""

    def __init__(
        self,
        predictor: Predictor,
        image: NDArray[np.uint8],
        modalities: Modalities | None = None,
        region: Region | None = None,
        threshold: float = 0.5,
    ) -> None:
        """Encode an image and begin without surfaces.

        Args:
            predictor: any; the session keeps using it.
            image: RGB uint8 [H, W, 3].
            modalities: as for :meth:`mmms_client.predictor.Predictor.encode`.
            region: the part of the image that the network sees. Clicks outside it are refused, and masks keep
                what they have outside it. The whole image by default.
            threshold: a pixel belongs to the surface above this probability.

        Raises:
            MMMSError: what the predictor's ``encode`` raises.
        """
        self.predictor = predictor
        self._inputs = image, modalities
        self._regions: dict[Region, Encoded] = {}
        self.encoded = predictor.encode(image, modalities, region)
        super().__init__(self.encoded.frame, predictor.contract.max_clicks, threshold)

    def click(
        self, surface_id: int, x: float, y: float, is_positive: bool = True, region: Region | None = None
    ) -> Answer:
        """Click on a surface and return what came of it.

        Args:
            surface_id: from :meth:`~mmms_client.annotation.Annotation.add_surface`.
            x, y: in image pixels, pixel centres at integers.
            is_positive: whether the surface is there, or is not.
            region: the part of the image that the model shall see for this click, encoded on its first use; that of
                the session by default.

        Raises:
            UsageError: an unknown or locked surface.
            ClickError: outside the image, or more clicks than the model takes.
            ServerError: what the predictor raises. The session is unchanged after every error.
        """
        request = self.propose(surface_id, Click(x, y, is_positive), region)
        began_s = time.perf_counter()
        answer = self.predictor.predict(self._encoded_of(region), request.clicks, request.previous_mask)
        return self.accept(request, answer, (time.perf_counter() - began_s) * 1000.0)

    def _encoded_of(self, region: Region | None) -> Encoded:
        if region is None:
            return self.encoded
        if region not in self._regions:
            self._regions[region] = self.predictor.encode(*self._inputs, region)
        return self._regions[region]


class AsyncSession(Annotation):
    """Like :class:`Session`, for an :class:`AsyncPredictor`. Made by :meth:`open`."""

    def __init__(self, predictor: AsyncPredictor, encoded: Encoded, threshold: float = 0.5) -> None:
        """A session on an image that ``predictor`` has encoded already."""
        self.predictor, self.encoded = predictor, encoded
        super().__init__(encoded.frame, predictor.contract.max_clicks, threshold)

    @classmethod
    async def open(
        cls,
        predictor: AsyncPredictor,
        image: NDArray[np.uint8],
        modalities: Modalities | None = None,
        region: Region | None = None,
        threshold: float = 0.5,
    ) -> AsyncSession:
        """Encode an image and begin without surfaces; arguments and errors as for :class:`Session`."""
        return cls(predictor, await predictor.encode(image, modalities, region), threshold)

    async def click(self, surface_id: int, x: float, y: float, is_positive: bool = True) -> Answer:
        """Like :meth:`Session.click`; :class:`UsageError` if another change overtook the click."""
        request = self.propose(surface_id, Click(x, y, is_positive))
        began_s = time.perf_counter()
        answer = await self.predictor.predict(self.encoded, request.clicks, request.previous_mask)
        return self.accept(request, answer, (time.perf_counter() - began_s) * 1000.0)
