"""The GraphQL documents that the connector sends about shops and products."""

from __future__ import annotations

from typing import Final

from workflow_service.shopify_api.client import Document

RECORD_ID: Final = {"namespace": "sigma_pim", "key": "record_id"}
"""The metafield in which a product carries the id of its record. Unique in the shop."""


TEST: Final = Document(
    """query Test {
      shop { name url plan { publicDisplayName } } productsCount(limit: null) { count }
    }""",
    4,
)

DEFINE_RECORD_ID: Final = Document(
    """mutation DefineRecordId($definition: MetafieldDefinitionInput!) {
      metafieldDefinitionCreate(definition: $definition) { userErrors { code message } }
    }""",
    10,
)

_RESULT: Final = """
      product { id variants(first: $variants) { nodes { id selectedOptions { name value } } } }
      userErrors { code field message }"""

SET_PRODUCT: Final = Document(
    f"""mutation SetProduct(
      $identifier: ProductSetIdentifiers!, $input: ProductSetInput!, $variants: Int!
    ) {{
      productSet(identifier: $identifier, input: $input, synchronous: true) {{{_RESULT}
      }}
    }}""",
    14,
)

_VARIANTS: Final = """
          pageInfo { hasNextPage endCursor }
          nodes { id selectedOptions { name value } }"""

PRESENT: Final = Document(
    f"""query Present($ids: [ID!]!, $variants: Int!) {{
      nodes(ids: $ids) {{
        ... on Product {{ id variants(first: $variants) {{{_VARIANTS}
        }} }}
      }}
    }}""",
    600,
)

MORE_PRESENT: Final = Document(
    f"""query MorePresent($id: ID!, $after: String!) {{
      product(id: $id) {{ variants(first: 100, after: $after) {{{_VARIANTS}
      }} }}
    }}""",
    303,
)

_PULLED_VARIANTS: Final = """
            pageInfo { hasNextPage endCursor }
            nodes {
              id price compareAtPrice sku barcode taxable inventoryPolicy
              selectedOptions { name value }
            }"""

PULL: Final = Document(
    f"""query Pull($first: Int!, $query: String, $variants: Int!) {{
      products(first: $first, sortKey: ID, query: $query) {{
        pageInfo {{ hasNextPage }}
        nodes {{
          id title descriptionHtml vendor productType handle templateSuffix status tags
          seo {{ title description }}
          category {{ id }}
          variants(first: $variants) {{{_PULLED_VARIANTS}
          }}
        }}
      }}
    }}""",
    900,
)

MORE_PULLED: Final = Document(
    f"""query MorePulled($id: ID!, $after: String!) {{
      product(id: $id) {{ variants(first: 100, after: $after) {{{_PULLED_VARIANTS}
      }} }}
    }}""",
    303,
)


def found(count: int) -> Document:
    """A query for the products with `count` custom ids: variables `i0`, `i1`, ...; fields alike."""
    variables = ", ".join(f"$i{n}: ProductIdentifierInput!" for n in range(count))
    fields = " ".join(
        f"i{n}: productByIdentifier(identifier: $i{n}) {{ id }}" for n in range(count)
    )
    return Document(f"query Find({variables}) {{ {fields} }}", count)
