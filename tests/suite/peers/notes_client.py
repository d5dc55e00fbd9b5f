"""The client of the socket-programming notes: send(name) with no end mark, recv(4),
struct.unpack('i'), recv(header_len), recv(1024) until total_size, md5.

    notes_client.py HOST PORT FOLDER SILENCE PAUSE NAME_IN_HEX...

SILENCE: seconds before the first send. PAUSE: seconds between the two halves of a name,
0 for one send. Each file is written to FOLDER under its number.
"""
import hashlib
import json
import os
import socket
import struct
import sys
import time

host, port, folder, silence, pause = sys.argv[1], int(sys.argv[2]), sys.argv[3], float(sys.argv[4]), float(sys.argv[5])
client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
client.connect((host, port))
time.sleep(silence)
for number, name_in_hex in enumerate(sys.argv[6:]):
    name = bytes.fromhex(name_in_hex)
    if pause:
        half = len(name) // 2
        client.send(name[:half])
        time.sleep(pause)
        client.send(name[half:])
    else:
        client.send(name)
    header_len = struct.unpack('i', client.recv(4))[0]
    header = json.loads(client.recv(header_len).decode('utf-8'))
    if 'error' in header:
        sys.exit('server: ' + header['error']['code'])
    digest = hashlib.md5()
    received = 0
    with open(os.path.join(folder, str(number)), 'wb') as f:
        while received < header['total_size']:
            data = client.recv(1024)
            if not data:
                sys.exit('cut off')
            f.write(data)
            digest.update(data)
            received += len(data)
    if received != header['total_size'] or digest.hexdigest() != header['md5']:
        sys.exit('damaged')
client.close()
