"""An invented product export of Magento, small enough to read."""

from __future__ import annotations

from pathlib import Path

ATTRIBUTES = """\
frontend_label,frontend_input,option,attribute_code,is_unique
"Size
Size",select,"S
M",size,0
Colour,select,"Deep Red
Sea",color,0
Season,multiselect,"Spring
Autumn",season,0
Organic,boolean,,organic,0
"""
HEADER = (
    "sku,store_view_code,attribute_set_code,product_type,categories,name,description,price,qty,"
    "is_in_stock,base_image,additional_attributes,configurable_variations"
)
SHIRT_S = (
    'SH-S-Sea,,Shirts,simple,"Shop/Wear/Shirts,Shop/New,Shop",Shirt S,<p>Soft &amp; light</p>,20,5,'
    '1,/s/a.jpg,"size=S,color=Sea,has_options=0",'
)
SHIRT_M = (
    "SH-M-Sea,,Shirts,simple,Shop/Wear/Shirts,Shirt M,<p>Soft &amp; light</p>,22,,1,,"
    '"size=M,color=sea",'
)
SHIRT = (
    "SH,,Shirts,configurable,Shop/Wear/Shirts,Shirt,<p>Soft &amp; light</p>,20,,1,/s/a.jpg,"
    '"season=Spring|autumn|Winter,organic=Yes",'
    '"sku=SH-S-Sea,size=S,color=Sea|sku=SH-M-Sea,size=M,color=Sea"'
)
MUG = 'MUG,,Cups,simple,Shop,Mug,,cheap,1,0,,"material=clay, glazed",'


def write_export(folder: Path, *rows: str, header: str = HEADER) -> Path:
    """Variants before their parent, as Magento writes them."""
    (folder / "fixtures").mkdir(exist_ok=True)
    (folder / "fixtures" / "attributes.csv").write_text(ATTRIBUTES, encoding="utf-8")
    text = "\n".join([header, *(rows or (SHIRT_S, SHIRT_M, SHIRT, MUG)), ""])
    (folder / "fixtures" / "products.csv").write_text(text, encoding="utf-8")
    return folder
