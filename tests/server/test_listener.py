import asyncio
import socket

from tgi_autoround.server.listener import bind


def test_tokens_are_sent_at_once_and_not_gathered_by_the_kernel() -> None:
    async def nodelay_of_an_accepted_connection() -> int:
        options: asyncio.Queue[int] = asyncio.Queue()

        def accept(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            accepted = writer.get_extra_info("socket")
            options.put_nowait(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        server = await asyncio.start_server(accept, sock=bind("127.0.0.1", 0))
        async with server:
            _reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            option = await asyncio.wait_for(options.get(), timeout=10)
            writer.close()
            return option

    assert asyncio.run(nodelay_of_an_accepted_connection()) != 0
