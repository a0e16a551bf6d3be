// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @title Emits the five events of an NGU contract as it is told, for load tests.
/// @notice It has no state and checks nothing: histories of any kind, thousands of logs at once.
/// @dev A row is 53 bytes: kind (0 mint, 1 burn, 2 transfer, 3 stake, 4 unstake), account,
/// recipient (used by a transfer only), start (8 bytes), quantity (4 bytes).
contract Emitter {
    event BatchMint(address indexed to, uint256 startTokenId, uint256 quantity);
    event BatchBurn(address indexed from, uint256 startTokenId, uint256 quantity);
    event BatchTransfer(
        address indexed from, address indexed to, uint256 startTokenId, uint256 quantity
    );
    event Stake(address indexed account, uint256 tokenId);
    event Unstake(address indexed account, uint256 tokenId);

    error BadRows();

    uint256 private constant ROW = 53;

    function play(bytes calldata rows) external {
        if (rows.length % ROW != 0) revert BadRows();
        for (uint256 row = 0; row < rows.length; row += ROW) {
            address account = address(bytes20(rows[row + 1:row + 21]));
            uint256 start = uint64(bytes8(rows[row + 41:row + 49]));
            uint256 quantity = uint32(bytes4(rows[row + 49:row + 53]));
            uint8 kind = uint8(rows[row]);
            if (kind == 0) emit BatchMint(account, start, quantity);
            else if (kind == 1) emit BatchBurn(account, start, quantity);
            else if (kind == 2) _transfer(account, rows[row + 21:row + 41], start, quantity);
            else if (kind == 3) emit Stake(account, start);
            else if (kind == 4) emit Unstake(account, start);
            else revert BadRows();
        }
    }

    function _transfer(address from, bytes calldata to, uint256 start, uint256 quantity) private {
        emit BatchTransfer(from, address(bytes20(to)), start, quantity);
    }
}
