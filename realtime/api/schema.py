"""The OpenAPI document, as a file and as a page to try it out."""

from functools import cache
from typing import Any

from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import OpenApiJsonRenderer2, OpenApiYamlRenderer
from drf_spectacular.utils import OpenApiResponse
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework.renderers import TemplateHTMLRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from realtime.api.views import FormatNegotiation, SelfContained
from realtime.openapi import operation


@cache
def build_document() -> dict[str, Any]:
    """The document; it is the same as long as the process lives."""
    document: dict[str, Any] = OwnGenerator().get_schema(public=True)  # type: ignore[no-untyped-call]
    return document


class OwnGenerator(SchemaGenerator):
    """Describes our views alone, whatever else a project has an API of."""

    def _initialise_endpoints(self) -> None:
        super()._initialise_endpoints()  # type: ignore[no-untyped-call]
        self.endpoints = [
            endpoint
            for endpoint in self.endpoints or ()
            if issubclass(endpoint[-1].cls, SelfContained)
        ]


class CachedGenerator(SchemaGenerator):
    """Makes the document once: that takes a tenth of a second, and anybody may ask for it."""

    def get_schema(self, request: Any = None, public: bool = False) -> dict[str, Any]:
        """The document."""
        return build_document()


class SchemaView(SelfContained, SpectacularAPIView):
    """`GET`: the document as JSON, or as YAML where the Accept header or `?format=yaml` says so."""

    authentication_classes = ()
    renderer_classes = [OpenApiJsonRenderer2, OpenApiYamlRenderer]  # noqa: RUF012 (so it is typed)
    content_negotiation_class = FormatNegotiation
    generator_class = CachedGenerator

    @operation(
        "read_schema",
        tag="Documents",
        answers={
            200: OpenApiResponse({"type": "object"}, description="An OpenAPI document."),
        },
        refusals=(),
    )
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """This document.

        As JSON, or as YAML where `Accept: application/vnd.oai.openapi` or `?format=yaml` says so.
        """
        response: Response = super().get(request, *args, **kwargs)  # type: ignore[no-untyped-call]
        return response


class DocsView(SelfContained, SpectacularSwaggerSplitView):
    """`GET`: Swagger UI, from this server alone."""

    authentication_classes = ()
    renderer_classes = [TemplateHTMLRenderer]  # noqa: RUF012
    template_name = "realtime/openapi.html"
