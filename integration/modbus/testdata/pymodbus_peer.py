"""A Modbus server on pymodbus, for the tests of the driver.

    pymodbus_peer.py tcp|rtu [IMAGE]

Listens on a loopback port, which it prints, with Modbus TCP's framing or with
that of the serial line. Its memory is that of libmodbus_peer.c, for the units 1
and 17; in unit 17, register 0 holds 17. 4500.25 stands at 1500 with the higher
word first, and at 1502 with the lower word first, as pymodbus orders them.
IMAGE is a file with one number per line: the holding registers of unit 1 from
40000 on.
"""

import asyncio
import struct
import sys

from pymodbus.constants import Endian
from pymodbus.datastore import ModbusSequentialDataBlock, ModbusServerContext, ModbusSlaveContext
from pymodbus.device import ModbusDeviceIdentification
from pymodbus.payload import BinaryPayloadBuilder
from pymodbus.server.async_io import ModbusTcpServer
from pymodbus.transaction import ModbusRtuFramer, ModbusSocketFramer

COUNT = 2000


def floats(value, wordorder):
    builder = BinaryPayloadBuilder(byteorder=Endian.Big, wordorder=wordorder)
    builder.add_32bit_float(value)
    return [struct.unpack(">H", word)[0] for word in builder.build()]


def unit(number, image):
    holding = list(range(COUNT))
    if number != 1:
        holding[0] = number
    holding[1500:1504] = floats(4500.25, Endian.Big) + floats(4500.25, Endian.Little)
    if image:
        holding += [0] * (40000 - COUNT) + image
    return ModbusSlaveContext(
        di=ModbusSequentialDataBlock(0, [i % 5 == 0 for i in range(COUNT)]),
        co=ModbusSequentialDataBlock(0, [i % 3 == 0 for i in range(COUNT)]),
        hr=ModbusSequentialDataBlock(0, holding),
        ir=ModbusSequentialDataBlock(0, [i + 10000 for i in range(COUNT)]),
        zero_mode=True,
    )


async def main():
    image = []
    if len(sys.argv) > 2:
        with open(sys.argv[2], encoding="ascii") as lines:
            image = [int(line) for line in lines]
    identity = ModbusDeviceIdentification()
    identity.VendorName = "pymodbus"
    identity.ProductCode = "PM"
    identity.MajorMinorRevision = "3.0"
    server = ModbusTcpServer(
        ModbusServerContext({1: unit(1, image), 17: unit(17, [])}, single=False),
        framer={"tcp": ModbusSocketFramer, "rtu": ModbusRtuFramer}[sys.argv[1]],
        identity=identity,
        address=("127.0.0.1", 0),
    )
    serving = asyncio.ensure_future(server.serve_forever())
    await server.serving
    print(server.server.sockets[0].getsockname()[1], flush=True)
    await serving


asyncio.run(main())
