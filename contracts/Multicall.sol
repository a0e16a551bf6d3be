// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @title Asks many one-argument views in one eth_call, without being deployed anywhere.
/// @notice It is creation code: a call without a recipient runs it, and what it would leave as a
/// contract's code is the answer. Nothing is ever stored.
/// @dev For each id, for each selector, 33 bytes: a status and the first word of what
/// target.selector(id) returned. Status 0: it reverted or returned less than a word; 1: it
/// answered; 2: it used up its share of the gas, so ask again with fewer ids. The first byte is
/// never 0xEF, which nodes refuse in code. Code may have 24,576 bytes: at most 744 pairs.
contract Multicall {
    error TooLittleGas();

    uint256 private constant PAIR = 33;
    uint256 private constant GAS_PER_BYTE = 200; // of code that creation leaves
    uint256 private constant RESERVE = 3_000; // a pair: our own instructions around the call
    uint256 private constant LEAST = 10_000; // a pair: below this no call is worth trying

    constructor(address target, bytes4[] memory selectors, uint256[] memory ids) {
        uint256 pairs = selectors.length * ids.length;
        bytes memory answers = new bytes(pairs * PAIR);
        uint256 place;
        for (uint256 i = 0; i < ids.length; i++) {
            for (uint256 j = 0; j < selectors.length; j++) {
                uint256 left = pairs - place;
                uint256 kept = answers.length * GAS_PER_BYTE + left * RESERVE + 20_000;
                if (gasleft() < kept + left * LEAST) revert TooLittleGas();
                uint256 share = (gasleft() - kept) / left;
                _ask(target, selectors[j], ids[i], share, answers, place++);
            }
        }
        assembly {
            return(add(answers, 32), mload(answers))
        }
    }

    function _ask(
        address target,
        bytes4 selector,
        uint256 id,
        uint256 share,
        bytes memory answers,
        uint256 place
    ) private view {
        uint256 status;
        uint256 word;
        assembly {
            mstore(0, selector)
            mstore(4, id)
            let before := gas()
            let done := staticcall(share, target, 0, 36, 0, 32)
            let used := sub(before, gas())
            switch done
            case 0 { if gt(used, sub(share, div(share, 16))) { status := 2 } }
            default {
                if gt(returndatasize(), 31) {
                    status := 1
                    word := mload(0)
                }
            }
            let at := add(add(answers, 32), mul(place, PAIR))
            mstore8(at, status)
            mstore(add(at, 1), word)
        }
    }
}
