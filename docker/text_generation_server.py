#!/opt/tgi-autoround/bin/python
"""The command `text-generation-server` of the cpu image: its `quantize`, under TGI's name.

Not an entry point of the wheel, because the wheel also goes into TGI's images, where upstream owns the name.
"""

from tgi_autoround.quantize.command import main_text_generation_server

main_text_generation_server()
